"""Completes what has settled: baked deployments, services in a steady state, deleted services."""

from __future__ import annotations

from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.scheduler import events
from mclass_tf.local.aws.ecs.scheduler.alarms import alarm_options, deployment_alarms
from mclass_tf.local.aws.ecs.scheduler.counts import count_tasks
from mclass_tf.local.aws.ecs.scheduler.observation import Observation
from mclass_tf.local.aws.ecs.scheduler.serving import is_shifting
from mclass_tf.local.aws.ecs.scheduler.world import SchedulerWorld

# Without a configured bake time, ECS monitors the alarms "less than 5 minutes" after all tasks are healthy.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
_LONGEST_BAKE = 300.0


def settle(service: Service, observation: Observation, *, world: SchedulerWorld) -> float | None:
    """Complete what has settled. Return when the bake time ends, or None if it has not begun."""
    count_tasks(service, observation.tasks.values())
    _drop_replaced(service, observation)
    if service.status == "DRAINING":
        _deactivate_if_drained(service, observation)
        return None
    if not observation.is_settled(service):
        service.is_steady = False
        return None
    baked_at = _complete_if_baked(service, now=observation.now, world=world)
    if not service.primary.is_in_progress and not service.is_steady:
        service.is_steady = True
        service.add_event(events.STEADY)
    return baked_at


def _drop_replaced(service: Service, observation: Observation) -> None:
    """Drop deployments without tasks. ECS keeps them to the end while alarms can still cause a rollback."""
    primary = service.primary
    with_tasks = {task.deployment_id for task in observation.views}
    is_watching = primary.is_in_progress and primary.record.alarms.status == "MONITORING"
    service.deployments = [
        deployment
        for deployment in service.deployments
        if deployment is primary
        or deployment.keeps_tasks
        or deployment.id in with_tasks
        or (is_watching and not deployment.is_failed)
    ]


def _deactivate_if_drained(service: Service, observation: Observation) -> None:
    if not observation.health:
        service.status = "INACTIVE"
        service.deployments = []


def _complete_if_baked(service: Service, *, now: float, world: SchedulerWorld) -> float | None:
    """Complete the deployment after its bake time. Return the end of the bake time, or None before the last stage."""
    deployment, progress = service.primary, service.primary.record.progress
    if not deployment.is_in_progress or not progress.is_last:
        return None
    if is_shifting(service):  # BAKE_TIME was a stage of its own
        _complete(service)
        return None
    if deployment.baking_until is None:
        deployment.baking_until = now + world.clock.real(_bake_seconds(service, world=world))
    if now >= deployment.baking_until:
        _complete(service)
    return deployment.baking_until


def _bake_seconds(service: Service, *, world: SchedulerWorld) -> float:
    record = service.primary.record
    if record.status != "IN_PROGRESS":
        return 0.0
    configured = float(service.settings["deploymentConfiguration"].get("bakeTimeInMinutes") or 0) * 60
    is_watching = record.alarms.status == "MONITORING"
    if configured or not (is_watching and alarm_options(service).get("rollback")):
        return configured
    alarms = deployment_alarms(service, world=world).values()
    return min(max((alarm.seconds for alarm in alarms), default=0.0), _LONGEST_BAKE)


def _complete(service: Service) -> None:
    deployment, record = service.primary, service.primary.record
    deployment.set_rollout_state("COMPLETED", reason=f"ECS deployment {deployment.id} completed.")
    service.deployments = [deployment]
    service.completed = deployment
    is_rollback = record.status == "ROLLBACK_IN_PROGRESS"
    record.end("ROLLBACK_SUCCESSFUL" if is_rollback else "SUCCESSFUL")
    service.add_event(events.deployment_completed(deployment.id))

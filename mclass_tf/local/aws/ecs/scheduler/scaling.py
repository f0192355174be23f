"""Starts and stops the tasks of a service as its deployment strategy decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf.local.aws.ecs.model.deployment import Deployment
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.task import Launch, Registration, Task
from mclass_tf.local.aws.ecs.scheduler import events
from mclass_tf.local.aws.ecs.scheduler.health import RegisteredTarget
from mclass_tf.local.aws.ecs.scheduler.observation import Observation, earliest
from mclass_tf.local.aws.ecs.scheduler.planning import plan_scaling
from mclass_tf.local.aws.ecs.scheduler.serving import blue_deployment
from mclass_tf.local.aws.ecs.scheduler.transitions import STOPPED_BY_SCHEDULER
from mclass_tf.local.aws.ecs.scheduler.view import StopCause, TaskCondition, TaskStop
from mclass_tf.local.aws.ecs.scheduler.world import SchedulerWorld

# AWS's seconds until ECS replaces a task that stopped unexpectedly. Not documented; observed by users.
_REPLACED_AFTER = 10.0


@dataclass(frozen=True, kw_only=True)
class ScalingResult:
    """`observation` is updated with the started and stopped tasks. `wake_at` is when more tasks may start."""

    observation: Observation
    wake_at: float | None


def scale(service: Service, observation: Observation, *, world: SchedulerWorld) -> ScalingResult:
    primary, blue = service.primary, blue_deployment(service)
    _choose_deployments(service, blue=blue)
    deployments = [primary] if blue is None else [primary, blue]
    wake_at = _replacement_time(deployments, now=observation.now, pause=world.clock.real(_REPLACED_AFTER))
    decision = plan_scaling(service, observation, blue=blue)
    if decision.stops or decision.start or decision.blue_start:
        service.is_steady = False
    observation = _stop_tasks(service, observation, decision.stops, world=world)
    tasks = _start_tasks(service, primary, decision.start, replacing=decision.replacing, world=world)
    if blue is not None:
        tasks += _start_tasks(
            service, blue, decision.blue_start, replacing=decision.blue_replacing, world=world
        )
    if decision.is_stuck and not primary.is_stuck:
        primary.is_stuck = True
        service.add_event(events.STUCK)
    return ScalingResult(observation=observation.with_started(tasks), wake_at=wake_at)


def _choose_deployments(service: Service, *, blue: Deployment | None) -> None:
    """Choose which deployments keep tasks: the primary one from SCALE_UP on, and blue. All others are scaled in."""
    primary = service.primary
    primary.keeps_tasks = not (primary.record.progress.is_before_scale_up and primary.is_in_progress)
    for other in service.deployments[1:]:
        other.keeps_tasks = other is blue
    if blue is not None and blue not in service.deployments:
        blue.keeps_tasks = True
        service.deployments.append(blue)


def _replacement_time(deployments: list[Deployment], *, now: float, pause: float) -> float | None:
    """Drop the stopped tasks whose replacements are due. Return when the next replacement or launch is due."""
    for deployment in deployments:
        deployment.ended_at = [at for at in deployment.ended_at if at + pause > now]
    throttled = [deployment.no_launch_before for deployment in deployments]
    replaced = [at + pause for deployment in deployments for at in deployment.ended_at]
    return earliest([*throttled, *replaced], after=now)


# ---- stops


def _stop_tasks(
    service: Service, observation: Observation, stops: tuple[TaskStop, ...], *, world: SchedulerWorld
) -> Observation:
    for stop in stops:
        task = observation.tasks[stop.task_id]
        reason = f"Scaling activity initiated by (deployment {service.primary.id})"
        if stop.cause is StopCause.HEALTH:
            reason = _record_unhealthy(service, task, target=observation.health[task.id].target)
        if world.runner is not None:
            world.runner.stop(task, code=STOPPED_BY_SCHEDULER, reason=reason, drain=True)
    task_ids = [stop.task_id for stop in stops]
    running = [
        task_id for task_id in task_ids if observation.health[task_id].condition is not TaskCondition.PENDING
    ]
    if running:
        service.add_event(events.stopped(running))
    if len(task_ids) > len(running):
        service.add_event(events.stopped_pending(len(task_ids) - len(running)))
    return observation.with_draining(task_ids)


def _record_unhealthy(service: Service, task: Task, *, target: RegisteredTarget | None) -> str:
    """Add the event, count the task for the circuit breaker, and return its stopped reason."""
    deployment = service.deployment_of(task)
    if deployment is not None:
        deployment.count_failed_tasks(deployment.failed_tasks + 1)
    if target is None:
        service.add_event(events.failed_container(task.id))
        return "Task failed container health checks"
    arn = target.target_group_arn
    service.add_event(
        events.failed_target(task.id, port=target.port, target_group_arn=arn, reason=target.description)
    )
    return f"Task failed ELB health checks in (target-group {arn})"


# ---- starts


def _start_tasks(
    service: Service, deployment: Deployment, number: int, *, replacing: int, world: SchedulerWorld
) -> list[Task]:
    if not number or world.runner is None:
        return []
    launch = _launch(service, deployment)
    tasks = [world.runner.launch(launch) for _ in range(number)]
    service.add_event(events.started([task.id for task in tasks], replacing=replacing))
    return tasks


def _launch(service: Service, deployment: Deployment) -> Launch:
    definition = service.definition(deployment)
    settings = {**service.settings, **deployment.revision.settings}
    return Launch(
        account_id=service.account_id,
        region=service.region,
        cluster_name=service.cluster_name,
        cluster_arn=service.cluster_arn,
        definition=definition,
        group=f"service:{service.name}",
        started_by=deployment.id,
        settings=settings,
        registrations=tuple(
            Registration(
                target_group_arn=target_group,
                container_name=load_balancer["containerName"],
                container_port=load_balancer["containerPort"],
            )
            for load_balancer, target_group in deployment.revision.load_balancer_groups()
        ),
        tags=tuple(_tags(service, settings=settings, definition=definition)),
    )


def _tags(service: Service, *, settings: Mapping[str, Any], definition: Any) -> list[dict[str, str]]:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html"""
    source = {"SERVICE": service.tags, "TASK_DEFINITION": definition.tags}
    tags = list(source.get(settings.get("propagateTags") or "NONE") or [])
    if settings.get("enableECSManagedTags"):
        tags.append({"key": "aws:ecs:clusterName", "value": service.cluster_name})
        tags.append({"key": "aws:ecs:serviceName", "value": service.name})
    return tags

"""Records what happened to the tasks of a service since the last pass: adds each event once, counts failed tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from mclass_tf.local.aws.ecs.model import breaker
from mclass_tf.local.aws.ecs.model.deployment import Deployment
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.scheduler import events
from mclass_tf.local.aws.ecs.scheduler.health import TaskHealth
from mclass_tf.local.aws.ecs.scheduler.observation import Observation
from mclass_tf.local.aws.ecs.scheduler.view import TaskCondition
from mclass_tf.local.clock import Clock

STOPPED_BY_SCHEDULER = "ServiceSchedulerInitiated"
_OWN_FAULT = ("TaskFailedToStart", "EssentialContainerExited")


def record_transitions(service: Service, observation: Observation, *, clock: Clock) -> None:
    for task_id in service.recorded_transitions.keys() - observation.tasks.keys():
        del service.recorded_transitions[task_id]
    _record_registrations(service, observation.tasks.values())
    for task in observation.tasks.values():
        deployment = service.deployment_of(task)
        if deployment is not None:
            _record_start(service, deployment, task)
            _record_health(service, deployment, task, observation.health.get(task.id))
            _record_stop(service, deployment, task, now=observation.now, clock=clock)


def _is_first(service: Service, task: Task, transition: str) -> bool:
    """Record the transition of the task. Return whether it is new."""
    seen = service.recorded_transitions.setdefault(task.id, set())
    is_first = transition not in seen
    seen.add(transition)
    return is_first


def _record_registrations(service: Service, tasks: Collection[Task]) -> None:
    registered = [task for task in tasks if task.is_registered and _is_first(service, task, "registered")]
    _add_target_events(service, registered, events.registered)
    draining = [task for task in tasks if task.is_draining and _is_first(service, task, "deregistered")]
    _add_target_events(service, draining, events.deregistered)
    for deployment_id, count in Counter(task.deployment_id for task in draining).items():
        service.add_event(events.draining(count), deployment_id=deployment_id)


def _add_target_events(service: Service, tasks: Iterable[Task], message: Callable[..., str]) -> None:
    target_groups = Counter(entry.target_group_arn for task in tasks for entry in task.launch.registrations)
    for arn, count in target_groups.items():
        service.add_event(message(count, target_group_arn=arn))


def _record_start(service: Service, deployment: Deployment, task: Task) -> None:
    if task.started_at is None or not _is_first(service, task, "running"):
        return
    deployment.launch_failures = 0
    deployment.no_launch_before = 0.0
    for container in task.containers:
        if container.image_digest:
            deployment.revision.digests[container.name] = container.image_digest


def _record_health(service: Service, deployment: Deployment, task: Task, health: TaskHealth | None) -> None:
    if health is None or health.condition is not TaskCondition.HEALTHY:
        return
    options = service.settings["deploymentConfiguration"]["deploymentCircuitBreaker"]
    if _is_first(service, task, "healthy") and breaker.resets(options):
        deployment.count_failed_tasks(0)


def _record_stop(service: Service, deployment: Deployment, task: Task, *, now: float, clock: Clock) -> None:
    """Record the stop of a task that the scheduler did not stop: it is replaced, and counts as failed if it caused its own end."""
    if task.desired_status != "STOPPED" or task.stop_code == STOPPED_BY_SCHEDULER:
        return
    if not _is_first(service, task, "ended"):
        return
    deployment.ended_at.append(now)
    if task.stop_code not in _OWN_FAULT:
        return
    deployment.count_failed_tasks(deployment.failed_tasks + 1)
    if task.started_at is None:
        _throttle_launches(service, deployment, now=now, clock=clock)


def _throttle_launches(service: Service, deployment: Deployment, *, now: float, clock: Clock) -> None:
    deployment.launch_failures += 1
    delay = breaker.launch_delay(deployment.launch_failures)
    deployment.no_launch_before = now + clock.real(delay)
    if delay and not deployment.is_impaired:
        deployment.is_impaired = True
        service.add_event(events.IMPAIRED)

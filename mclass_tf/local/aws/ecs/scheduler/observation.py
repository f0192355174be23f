"""The tasks of a service and their health, as one pass of the scheduler observes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mclass_tf.local.aws.ecs.model.deployment import Deployment
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.scheduler.health import (
    UNCHECKED_SECONDS,
    RegisteredTarget,
    TaskHealth,
    TaskState,
    evaluate_health,
)
from mclass_tf.local.aws.ecs.scheduler.view import TaskCondition, TaskView
from mclass_tf.local.aws.ecs.scheduler.world import SchedulerWorld
from mclass_tf.local.aws.ecs.tasks import container_health
from mclass_tf.local.aws.elbv2.targets import TargetHealth

_TargetHealths = Mapping[tuple[str, str, int], TargetHealth]  # by target group, address and port


@dataclass(frozen=True, kw_only=True)
class Observation:
    """`now` is in seconds since the epoch. `health` contains the tasks that the scheduler counts, in the order of `tasks`."""

    now: float
    tasks: Mapping[str, Task]
    health: Mapping[str, TaskHealth]

    @property
    def views(self) -> list[TaskView]:
        return [
            TaskView(
                id=task_id,
                deployment_id=self.tasks[task_id].deployment_id,
                condition=health.condition,
                zone=self.tasks[task_id].availability_zone,
                created_at=self.tasks[task_id].created_at,
            )
            for task_id, health in self.health.items()
        ]

    @property
    def wake_at(self) -> float | None:
        """The time at which the health of a task next changes without an event."""
        return earliest((health.until for health in self.health.values()), after=self.now)

    def healthy_count(self, deployment: Deployment) -> int:
        return sum(
            task.condition is TaskCondition.HEALTHY and task.deployment_id == deployment.id
            for task in self.views
        )

    def is_settled(self, service: Service) -> bool:
        """Return whether the desired tasks of the primary deployment are healthy and, besides its draining ones, no others run."""
        primary = service.primary
        remaining = [
            task
            for task in self.views
            if task.deployment_id != primary.id or task.condition is not TaskCondition.DRAINING
        ]
        is_complete = len(remaining) == service.desired_count == self.healthy_count(primary)
        return is_complete and not primary.is_failed

    def with_draining(self, task_ids: Iterable[str]) -> Observation:
        return self._with_condition(TaskCondition.DRAINING, task_ids)

    def with_started(self, tasks: Iterable[Task]) -> Observation:
        started = {task.id: task for task in tasks}
        observation = dataclasses.replace(self, tasks={**self.tasks, **started})
        return observation._with_condition(TaskCondition.PENDING, started)  # noqa: SLF001  same class

    def _with_condition(self, condition: TaskCondition, task_ids: Iterable[str]) -> Observation:
        changed = {task_id: TaskHealth(condition=condition) for task_id in task_ids}
        return dataclasses.replace(self, health={**self.health, **changed})


def earliest(times: Iterable[float | None], *, after: float) -> float | None:
    return min((at for at in times if at is not None and at > after), default=None)


def observe(service: Service, *, world: SchedulerWorld) -> Observation:
    now = world.now()
    tasks = [] if world.runner is None else world.runner.all(service.account_id, service.region)
    own = {task.id: task for task in tasks if service.owns(task)}
    return Observation(now=now, tasks=own, health=_evaluate_health(service, own, now=now, world=world))


def _evaluate_health(
    service: Service, tasks: Mapping[str, Task], *, now: float, world: SchedulerWorld
) -> dict[str, TaskHealth]:
    grace = world.clock.real(service.settings.get("healthCheckGracePeriodSeconds") or 0)
    unchecked = world.clock.real(UNCHECKED_SECONDS)
    targets = _target_health(service, tasks.values(), world=world)
    evaluated = (
        (
            task_id,
            evaluate_health(_state(task, targets=targets), now=now, grace=grace, unchecked=unchecked),
        )
        for task_id, task in tasks.items()
    )
    return {task_id: health for task_id, health in evaluated if health is not None}


def _target_health(service: Service, tasks: Iterable[Task], *, world: SchedulerWorld) -> _TargetHealths:
    target_groups = {
        registration.target_group_arn
        for task in tasks
        for registration in task.launch.registrations
        if task.last_status == "RUNNING"
    }
    return {
        (arn, target.ip, target.port): target
        for arn in target_groups
        for target in world.targets(service.account_id, service.region, arn)
    }


def _state(task: Task, *, targets: _TargetHealths) -> TaskState:
    address = task.interface.private_ip if task.interface is not None else ""
    registered = []
    for entry in task.launch.registrations:
        target = targets.get((entry.target_group_arn, address, entry.container_port))
        registered.append(
            RegisteredTarget(
                target_group_arn=entry.target_group_arn,
                port=entry.container_port,
                state="unused" if target is None else target.state,
                description="" if target is None else target.description or "",
            )
        )
    return TaskState(
        last_status=task.last_status,
        desired_status=task.desired_status,
        started_at=task.started_at,
        container_health=task.health_status if _has_health_check(task) else None,
        targets=registered,
    )


def _has_health_check(task: Task) -> bool:
    return any(
        definition.get("essential", True) and container_health.parse_health_check(definition) is not None
        for definition in task.launch.definition.container_definitions
    )

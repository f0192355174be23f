"""The ROLLING strategy: new tasks replace old ones within minimumHealthyPercent and maximumPercent.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html (how unhealthy tasks are replaced)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from mclass_tf.local.aws.ecs.scheduler.view import (
    ScalingDecision,
    ServiceView,
    StopCause,
    TaskCondition,
    TaskStop,
    TaskView,
)

_WHOLE = 100


def minimum_healthy(desired: int, configuration: Mapping[str, int]) -> int:
    """Return how many tasks must stay healthy, rounded up as ECS does."""
    return -(-desired * configuration["minimumHealthyPercent"] // _WHOLE)


def maximum_running(desired: int, configuration: Mapping[str, int]) -> int:
    """Return how many tasks may be running or pending, rounded down as ECS does."""
    return desired * configuration["maximumPercent"] // _WHOLE


def decide(view: ServiceView) -> ScalingDecision:
    """Stop every task that can stop now, then start as many as allowed.

    An old healthy task stops as soon as the minimum holds without it, even before its replacement runs: "the number of
    running tasks will decrease below the desired count during deployments" (aws/aws-cdk#31705).
    """
    if view.is_failed and view.desired > 0:
        return ScalingDecision()  # stalled: the serving tasks keep serving
    return _RollingUpdate(view).decide()


class _RollingUpdate:
    def __init__(self, view: ServiceView) -> None:
        self._view = view
        live = [task for task in view.tasks if task.condition is not TaskCondition.DRAINING]
        self._new = [task for task in live if task.deployment_id == view.primary]
        self._old = [task for task in live if task.deployment_id != view.primary]
        self._spare = _count(live, TaskCondition.HEALTHY) - view.minimum
        self._stops: dict[str, TaskStop] = {}

    def decide(self) -> ScalingDecision:
        self._stop_idle_old()
        self._stop_surplus()
        self._stop_unhealthy()
        self._stop_healthy_old()
        start = self._startable()
        unhealthy = [task for task in self._new if task.condition is TaskCondition.UNHEALTHY]
        return ScalingDecision(
            stops=tuple(self._stops.values()),
            start=start,
            replacing=min(start, len(unhealthy)),
            is_stuck=self._is_stuck(start),
        )

    # ---- stops

    def _stop_idle_old(self) -> None:
        """Stop old tasks that do not serve yet."""
        idle = (TaskCondition.PENDING, TaskCondition.STARTING)
        self._stop((task for task in self._old if task.condition in idle), StopCause.SCALING)

    def _stop_surplus(self) -> None:
        """Stop new tasks beyond the desired count, those that do not serve yet first. `_stop_unhealthy` handles unhealthy ones."""
        good = [task for task in self._new if task.condition is not TaskCondition.UNHEALTHY]
        surplus = len(good) - self._view.desired
        if surplus <= 0:
            return
        idle = [task for task in good if task.condition is not TaskCondition.HEALTHY]
        idle.sort(key=lambda task: (task.condition is TaskCondition.STARTING, -task.created_at))
        chosen = idle[:surplus]
        healthy = [task for task in good if task.condition is TaskCondition.HEALTHY]
        chosen += _choose_spread(healthy, count=surplus - len(chosen))
        self._spare -= _count(chosen, TaskCondition.HEALTHY)
        self._stop(chosen, StopCause.SCALING)

    def _stop_unhealthy(self) -> None:
        """Stop unhealthy tasks if the minimum holds without them, else once they are replaced or block their replacements."""
        unhealthy = sorted(
            (task for task in (*self._old, *self._new) if task.condition is TaskCondition.UNHEALTHY),
            key=lambda task: task.created_at,
        )
        if self._spare >= 0:
            self._stop(unhealthy, StopCause.HEALTH)
            return
        coming = _count(self._new, TaskCondition.PENDING) + _count(self._new, TaskCondition.STARTING)
        surplus = len(self._new) - self._view.desired if coming == 0 else 0
        while unhealthy and (surplus > 0 or self._lacks_capacity()):
            self._stop([unhealthy.pop(0)], StopCause.HEALTH)
            surplus -= 1

    def _stop_healthy_old(self) -> None:
        healthy = [task for task in self._old if task.condition is TaskCondition.HEALTHY]
        self._stop(_choose_spread(healthy, count=min(self._spare, len(healthy))), StopCause.SCALING)

    def _stop(self, tasks: Iterable[TaskView], cause: StopCause) -> None:
        for task in tasks:
            self._stops[task.id] = TaskStop(task_id=task.id, cause=cause)

    # ---- starts

    def _capacity_left(self) -> int:
        return self._view.maximum - len(self._remaining(self._old)) - len(self._remaining(self._new))

    def _needed(self) -> int:
        good = [task for task in self._remaining(self._new) if task.condition is not TaskCondition.UNHEALTHY]
        return self._view.desired - len(good) - self._view.held

    def _lacks_capacity(self) -> bool:
        return self._view.may_launch and self._needed() > 0 and self._capacity_left() <= 0

    def _startable(self) -> int:
        if not self._view.may_launch or self._view.is_failed:
            return 0
        return max(0, min(self._needed(), self._capacity_left()))

    def _remaining(self, tasks: Sequence[TaskView]) -> list[TaskView]:
        return [task for task in tasks if task.id not in self._stops]

    def _is_stuck(self, start: int) -> bool:
        settled = all(task.condition is TaskCondition.HEALTHY for task in self._view.tasks)
        return bool(self._lacks_capacity() and start == 0 and not self._stops and self._old and settled)


def _count(tasks: Iterable[TaskView], condition: TaskCondition) -> int:
    return sum(1 for task in tasks if task.condition is condition)


def _choose_spread(tasks: Sequence[TaskView], *, count: int) -> list[TaskView]:
    """Choose the tasks to stop so that the rest stay spread over the zones; the oldest in a zone first.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html
    """
    remaining = sorted(tasks, key=lambda task: task.created_at)
    chosen: list[TaskView] = []
    while remaining and len(chosen) < count:
        zone_counts = Counter(task.zone for task in remaining)
        chosen_task = max(remaining, key=lambda task: (zone_counts[task.zone], -task.created_at))
        remaining.remove(chosen_task)
        chosen.append(chosen_task)
    return chosen

"""Evaluates the health of a task as the service scheduler does.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html (minimumHealthyPercent)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mclass_tf.local.aws.ecs.scheduler.view import TaskCondition

# A task without health checks counts as healthy this many of AWS's seconds after it reached RUNNING.
UNCHECKED_SECONDS = 40.0

_STARTING = ("PROVISIONING", "PENDING", "ACTIVATING")
_RUNNING = ("RUNNING", "DEACTIVATING")


@dataclass(frozen=True, kw_only=True)
class RegisteredTarget:
    """A task's target in one target group. `state` and `description` are those of DescribeTargetHealth."""

    target_group_arn: str
    port: int
    state: str
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class TaskState:
    """`container_health` combines the health checks of essential containers; None without checks. Times are real seconds."""

    last_status: str
    desired_status: str
    started_at: float | None
    container_health: str | None
    targets: Sequence[RegisteredTarget]


@dataclass(frozen=True, kw_only=True)
class TaskHealth:
    """`until`: when the condition changes without an event. `target`: the unhealthy target; None for a container health check."""

    condition: TaskCondition
    until: float | None = None
    target: RegisteredTarget | None = None


def evaluate_health(state: TaskState, *, now: float, grace: float, unchecked: float) -> TaskHealth | None:
    """Return the condition of the task, or None if the scheduler no longer counts it.

    `grace` is the health check grace period. `unchecked` is when a task without checks becomes healthy. Both in real seconds.
    """
    if state.desired_status == "STOPPED":
        return TaskHealth(condition=TaskCondition.DRAINING) if state.last_status in _RUNNING else None
    if state.last_status in _STARTING:
        return TaskHealth(condition=TaskCondition.PENDING)
    if state.last_status != "RUNNING":
        return None
    started = state.started_at if state.started_at is not None else now
    unhealthy = _unhealthy(state)
    if unhealthy is not None:
        graceful = now < started + grace
        return TaskHealth(condition=TaskCondition.STARTING, until=started + grace) if graceful else unhealthy
    if state.container_health is None and not state.targets:
        settled = now >= started + unchecked
        return TaskHealth(
            condition=TaskCondition.HEALTHY if settled else TaskCondition.STARTING,
            until=None if settled else started + unchecked,
        )
    passed = state.container_health in (None, "HEALTHY") and all(
        target.state == "healthy" for target in state.targets
    )
    return TaskHealth(condition=TaskCondition.HEALTHY if passed else TaskCondition.STARTING)


def _unhealthy(state: TaskState) -> TaskHealth | None:
    if state.container_health == "UNHEALTHY":
        return TaskHealth(condition=TaskCondition.UNHEALTHY)
    failing = next((target for target in state.targets if target.state == "unhealthy"), None)
    return None if failing is None else TaskHealth(condition=TaskCondition.UNHEALTHY, target=failing)

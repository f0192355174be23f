"""The health of tasks, and the thresholds of the circuit breaker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mclass_tf.local.aws.ecs.model import breaker
from mclass_tf.local.aws.ecs.scheduler.health import RegisteredTarget, TaskHealth, TaskState, evaluate_health
from mclass_tf.local.aws.ecs.scheduler.view import TaskCondition

_NOW = 1000.0
_RUNNING = TaskState(
    last_status="RUNNING", desired_status="RUNNING", started_at=_NOW - 5, container_health=None, targets=()
)


def _evaluate(*, grace: float = 0, **changes: Any) -> TaskHealth | None:
    return evaluate_health(replace(_RUNNING, **changes), now=_NOW, grace=grace, unchecked=40)


def _targets(*states: str) -> tuple[RegisteredTarget, ...]:
    return tuple(
        RegisteredTarget(target_group_arn=f"group-{number}", port=3000, state=state, description="why")
        for number, state in enumerate(states)
    )


_CASES: dict[str, tuple[dict[str, Any], TaskCondition | None]] = {
    "provisioning": ({"last_status": "PROVISIONING", "started_at": None}, TaskCondition.PENDING),
    "activating": ({"last_status": "ACTIVATING", "started_at": None}, TaskCondition.PENDING),
    "told to stop": ({"desired_status": "STOPPED"}, TaskCondition.DRAINING),
    "draining": ({"desired_status": "STOPPED", "last_status": "DEACTIVATING"}, TaskCondition.DRAINING),
    "stopping": ({"desired_status": "STOPPED", "last_status": "STOPPING"}, None),
    "stopped": ({"desired_status": "STOPPED", "last_status": "STOPPED"}, None),
    "stopped before it ran": ({"desired_status": "STOPPED", "last_status": "PENDING"}, None),
    "unchecked and new": ({}, TaskCondition.STARTING),
    "unchecked for 40 s": ({"started_at": _NOW - 40}, TaskCondition.HEALTHY),
    "container not known yet": ({"container_health": "UNKNOWN"}, TaskCondition.STARTING),
    "container healthy": ({"container_health": "HEALTHY"}, TaskCondition.HEALTHY),
    "container unhealthy": ({"container_health": "UNHEALTHY"}, TaskCondition.UNHEALTHY),
    "target initial": ({"targets": _targets("initial")}, TaskCondition.STARTING),
    "target not in use": ({"targets": _targets("unused")}, TaskCondition.STARTING),
    "target healthy": ({"targets": _targets("healthy")}, TaskCondition.HEALTHY),
    "one target of two healthy": ({"targets": _targets("healthy", "initial")}, TaskCondition.STARTING),
    "one target of two unhealthy": ({"targets": _targets("healthy", "unhealthy")}, TaskCondition.UNHEALTHY),
    "target healthy, container not known": (
        {"targets": _targets("healthy"), "container_health": "UNKNOWN"},
        TaskCondition.STARTING,
    ),
    "both healthy": ({"targets": _targets("healthy"), "container_health": "HEALTHY"}, TaskCondition.HEALTHY),
}


@pytest.mark.parametrize(("changes", "expected"), _CASES.values(), ids=_CASES.keys())
def test_a_task_counts_as(changes: dict[str, Any], expected: TaskCondition | None) -> None:
    health = _evaluate(**changes)
    assert expected is (None if health is None else health.condition)


@pytest.mark.parametrize(
    "changes",
    [{"container_health": "UNHEALTHY"}, {"targets": _targets("unhealthy")}],
    ids=["check", "target"],
)
def test_a_failure_in_the_grace_period_is_reevaluated_after_it(changes: dict[str, Any]) -> None:
    assert TaskHealth(condition=TaskCondition.STARTING, until=_NOW + 25) == _evaluate(grace=30, **changes)
    after = _evaluate(grace=5, **changes)
    assert after is not None
    assert after.condition is TaskCondition.UNHEALTHY


def test_a_task_without_checks_is_reevaluated_when_it_becomes_healthy() -> None:
    assert TaskHealth(condition=TaskCondition.STARTING, until=_NOW + 35) == _evaluate()


def test_the_target_that_fails_is_named() -> None:
    health = _evaluate(targets=_targets("healthy", "unhealthy"))
    assert health is not None
    assert health.target is not None
    assert health.target.target_group_arn == "group-1"


_THRESHOLDS: list[tuple[dict[str, Any], int, int]] = [
    ({}, 1, 3),
    ({}, 6, 3),
    ({}, 7, 4),
    ({}, 25, 13),
    ({}, 400, 200),
    ({}, 800, 200),
    ({"type": "BOUNDED_PERCENT", "value": 100}, 10, 10),
    ({"type": "UNBOUNDED_PERCENT", "value": 50}, 800, 400),
    ({"type": "UNBOUNDED_PERCENT", "value": 50}, 2, 1),
    ({"type": "COUNT", "value": 5}, 800, 5),
]


@pytest.mark.parametrize(("configuration", "desired", "expected"), _THRESHOLDS)
def test_the_circuit_breaker_trips_at(configuration: dict[str, Any], desired: int, expected: int) -> None:
    given = {"enable": True, "thresholdConfiguration": configuration} if configuration else {"enable": True}
    assert expected == breaker.threshold(given, desired=desired)


def test_launch_delays_grow_up_to_a_limit() -> None:
    assert [breaker.launch_delay(failures) for failures in range(5)] == [0.0, 0.0, 30.0, 60.0, 120.0]
    assert breaker.launch_delay(100) == 27 * 60

"""The cause of a failed rollout is one sentence, with a hint on what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mclass_tf.errors import ServiceEvent
from mclass_tf.rollout import FailureCause, explain
from mclass_tf.service import HookState, ServiceDeployment, Task
from tests.unit.fake_service import NEW, deployment, event, service_deployment, task


def cause(
    *stopped: Task,
    of: ServiceDeployment | None = None,
    events: Sequence[ServiceEvent] = (),
    rollout_reason: str = "",
) -> FailureCause:
    return explain(
        stopped=stopped,
        deployment=of or service_deployment(),
        primary=replace(deployment(NEW), rollout_reason=rollout_reason),
        events=events,
        environment="dev",
        log_group="/ecs/mclass-task",
    )


@pytest.mark.parametrize(
    ("stopped", "sentence", "hint"),
    [
        (
            task("a", stopped_reason="Essential container in task exited", exit_code=1),
            "1 task failed: the container mclass-server exited with 1",
            "aws logs tail /ecs/mclass-task",
        ),
        (
            task(
                "a",
                stopped_reason="Essential container in task exited",
                exit_code=137,
                reason="OutOfMemoryError: Container killed due to memory usage",
            ),
            "the container mclass-server exited with 137 (SIGKILL): OutOfMemoryError: Container killed due to memory usage",
            "more memory",
        ),
        (
            task(
                "a", stopped_reason="CannotPullContainerError: pull image manifest has been retried 1 time(s)"
            ),
            "CannotPullContainerError: pull image manifest has been retried 1 time(s)",
            "`push dev`",
        ),
        (
            task("a", stopped_reason="ResourceInitializationError: unable to pull secrets or registry auth"),
            "ResourceInitializationError: unable to pull secrets",
            "`verify dev`",
        ),
        (
            task("a", stopped_reason="Task failed ELB health checks in (target-group arn:blue)", exit_code=0),
            "1 task failed: Task failed ELB health checks in (target-group arn:blue)",
            "health_check.grace_period",
        ),
        (
            task("a", stopped_reason="Task failed container health checks"),
            "Task failed container health checks",
            "health check must answer in time",
        ),
    ],
)
def test_a_stopped_task_tells_the_cause(stopped: Task, sentence: str, hint: str) -> None:
    found = cause(stopped)

    assert sentence in found.sentence
    assert hint in found.hint
    assert "\n" not in found.sentence


def test_the_most_frequent_cause_counts() -> None:
    crash = "Essential container in task exited"
    stopped = [task(str(n), stopped_reason=crash, exit_code=3) for n in range(3)]

    found = cause(task("x", stopped_reason="Task stopped by user"), *stopped)

    assert found.sentence == "3 tasks failed: the container mclass-server exited with 3"


def test_a_task_that_was_no_longer_wanted_is_no_cause() -> None:
    scaled_in = task(
        "a", stopped_reason="Scaling activity initiated by (deployment ecs-svc/2)", exit_code=143
    )

    found = cause(scaled_in, rollout_reason="ECS deployment circuit breaker: tasks failed to start.")

    assert found.sentence == "ECS deployment circuit breaker: tasks failed to start"


def test_where_no_task_could_be_placed_the_event_tells_why() -> None:
    said = (
        "(service mclass-service) was unable to place a task. Reason: Capacity is unavailable at this time."
    )

    found = cause(events=[event(1, "(service mclass-service) has started 1 tasks."), event(2, said)])

    assert found.sentence == said
    assert "FARGATE" in found.hint


def test_an_alarm_is_named() -> None:
    found = cause(of=replace(service_deployment(), alarms=("too-many-errors",)))

    assert found.sentence == "alarms went off: too-many-errors"


def test_the_reason_of_the_rollback_goes_before_that_of_the_status() -> None:
    of = replace(service_deployment(), rollback_reason="Rolled back by user.", status_reason="Other.")

    assert cause(of=of).sentence == "Rolled back by user"
    assert "was asked for" in cause(of=of).hint


def test_where_ecs_says_nothing_that_is_said() -> None:
    found = cause()

    assert found.sentence == "ECS gives no reason"
    assert found.hint


def test_a_long_reason_is_cut_to_one_line() -> None:
    found = cause(task("a", stopped_reason="CannotPullContainerError: " + "very\nlong " * 200))

    assert len(found.sentence) < 500
    assert "\n" not in found.sentence


@pytest.mark.parametrize(
    ("kind", "status", "told", "hint"),
    [
        ("PAUSE", "FAILED", "rolled back by a user", "release again"),
        ("PAUSE", "TIMED_OUT", "nobody answered a pause in time", "`release dev`"),
        (
            "AWS_LAMBDA",
            "FAILED",
            "the Lambda hook check failed",
            "aws logs tail /aws/lambda/check --since 1h",
        ),
        ("AWS_LAMBDA", "TIMED_OUT", "the Lambda hook check did not finish in time", "what the function said"),
    ],
)
def test_a_hook_that_has_ended_it_is_named(kind: str, status: str, told: str, hint: str) -> None:
    arn = "arn:aws:lambda:ap-northeast-2:111111111111:function:check" if kind == "AWS_LAMBDA" else ""
    hook = HookState(id="hook", kind=kind, status=status, target_arn=arn)

    found = cause(of=replace(service_deployment(), hooks=(hook,)))

    assert told in found.sentence
    assert hint in found.hint


def test_a_pause_that_the_alarms_have_ended_is_not_the_cause() -> None:
    hook = HookState(id="hook", kind="PAUSE", status="FAILED")

    found = cause(of=replace(service_deployment(), hooks=(hook,), alarms=("errors",)))

    assert found.sentence == "alarms went off: errors"

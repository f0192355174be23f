"""ECS's success is not enough: only the released revision may serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mclass_tf.errors import NotServingError
from mclass_tf.rollout import ExpectedRevision, Patience, require_sole_revision
from mclass_tf.service import Task
from tests.unit.fake_service import DIGEST, NEW, OLD, Clock, FakeEcs, deployment, service, task

SETTLED = 80.0


def serving() -> FakeEcs:
    ecs = FakeEcs(service(deployment(NEW, status="PRIMARY")))
    ecs.running = [task("a", address="10.0.0.1"), task("b", address="10.0.0.2")]
    ecs.states = {"10.0.0.1": "healthy", "10.0.0.2": "healthy", "10.0.0.3": "draining"}
    return ecs


def required(ecs: FakeEcs, clock: Clock | None = None) -> tuple[Task, ...]:
    clock = clock or Clock()
    return require_sole_revision(
        ecs,
        ExpectedRevision(task_definition_arn=NEW, container="mclass-server", digest=DIGEST),
        settled_within=SETTLED,
        patience=Patience(report=print, clock=clock, wait=clock.wait),
        clock=clock,
        wait=clock.wait,
    )


def test_the_tasks_that_serve_are_returned() -> None:
    assert [each.id for each in required(serving())] == ["a", "b"]


def old_primary(ecs: FakeEcs) -> None:
    ecs.now = service(deployment(OLD, status="PRIMARY"))


def rolling(ecs: FakeEcs) -> None:
    ecs.now = service(deployment(NEW, status="PRIMARY", state="IN_PROGRESS"))


def too_few(ecs: FakeEcs) -> None:
    ecs.running.pop()
    ecs.states["10.0.0.2"] = "draining"


def an_old_task(ecs: FakeEcs) -> None:
    ecs.running.append(task("c", OLD, address="10.0.0.3"))


def another_image(ecs: FakeEcs) -> None:
    ecs.running[0] = task("a", address="10.0.0.1", digest="sha256:" + "b" * 64)


def another_target(ecs: FakeEcs) -> None:
    ecs.states["10.0.0.3"] = "healthy"


def no_target(ecs: FakeEcs) -> None:
    ecs.states = {"10.0.0.1": "unhealthy", "10.0.0.2": "initial"}


@pytest.mark.parametrize(
    "harm", [old_primary, rolling, too_few, an_old_task, another_image, another_target, no_target]
)
def test_anything_else_that_serves_is_a_failure(harm: Callable[[FakeEcs], None]) -> None:
    ecs = serving()
    harm(ecs)

    with pytest.raises(NotServingError, match="calls the deployment successful, but") as caught:
        required(ecs)

    assert caught.value.exit_code == 6
    assert caught.value.cause


def test_calls_that_do_not_agree_yet_are_asked_again() -> None:
    ecs, clock = serving(), Clock()
    an_old_task(ecs)
    reads = iter(range(100))

    def settle() -> None:
        if next(reads) == 3:
            ecs.running.pop()

    ecs.on_read = settle

    assert len(required(ecs, clock)) == 2


def test_an_image_is_known_by_the_reference_of_the_task_definition_too() -> None:
    ecs = serving()
    first = ecs.running[0]
    ecs.running[0] = replace(first, containers=(replace(first.containers[0], digest=""),))

    assert required(ecs)


@pytest.mark.parametrize(
    ("harm", "seconds"),
    [(an_old_task, 10.0), (another_target, 10.0), (too_few, SETTLED), (no_target, SETTLED)],
)
def test_another_revision_is_a_failure_at_once_and_too_few_targets_only_after_their_time(
    harm: Callable[[FakeEcs], None], seconds: float
) -> None:
    ecs, clock = serving(), Clock()
    harm(ecs)

    with pytest.raises(NotServingError):
        required(ecs, clock)

    assert seconds <= clock.now - 1000.0 <= seconds + 3.0


def test_a_scale_out_needs_not_be_waited_for() -> None:
    """The service was to run two tasks, and two serve; six more are on their way."""
    ecs, clock = serving(), Clock()
    ecs.states = {"10.0.0.1": "healthy", "10.0.0.2": "initial"}

    def scale_out() -> None:
        ecs.now = service(deployment(NEW, status="PRIMARY", desired=8), desired=8)
        if clock.now > 1030.0:
            ecs.states["10.0.0.2"] = "healthy"
        if clock.now > 1000.0:
            ecs.on_read = later

    def later() -> None:
        if clock.now > 1030.0:
            ecs.states["10.0.0.2"] = "healthy"

    ecs.on_read = lambda: scale_out() if clock.now > 1000.0 else None

    assert [each.id for each in required(ecs, clock)] == ["a", "b"]
    assert clock.now < 1040.0

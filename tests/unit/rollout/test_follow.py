"""The effects of an interrupt on a rollout, and of ECS's rollback on a first release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mclass_tf.rollout import (
    Choice,
    Patience,
    RolloutEnd,
    RolloutOutcome,
    StartedRollout,
    View,
    Watch,
    follow,
)
from mclass_tf.service import HookState
from tests.unit.fake_service import NEW, OLD, Clock, FakeEcs, denied, deployment, service, service_deployment

WAITING = HookState(id="hook", kind="PAUSE", status="AWAITING_ACTION")


class Interruptions:
    """Interrupts at the waits with these numbers, from 1, and moves the clock."""

    def __init__(
        self, *at: int, final: bool = False, on_wait: Callable[[int], None] = lambda _: None
    ) -> None:
        self.waits = 0
        self.cleared = 0
        self.is_final = final
        self._at = at
        self._on_wait = on_wait

    def wait(self, _: float, /) -> bool:
        self.waits += 1
        self._on_wait(self.waits)
        return self.waits in self._at

    def clear(self) -> None:
        self.cleared += 1


class Asked:
    def __init__(self, *answers: Choice) -> None:
        self._answers = list(answers)
        self.times = 0

    def __call__(self) -> Choice:
        self.times += 1
        return self._answers.pop(0)


def followed(
    ecs: FakeEcs,
    interruptions: Interruptions,
    asked: Asked,
    *,
    reset_to: int | None = None,
    is_worse: bool = False,
) -> tuple[RolloutEnd | None, list[str]]:
    told: list[str] = []
    shown: list[View] = []
    clock = Clock()
    started = StartedRollout(
        service_deployment_arn=ecs.own.arn, task_definition_arn=NEW, seen=frozenset(), at=clock.now
    )
    end = follow(
        Watch(ecs, started, stall_after=1000, clock=clock),
        ecs,
        show=shown.append,
        interruption=interruptions,
        on_interrupt=asked,
        patience=Patience(report=told.append, clock=clock, wait=clock.wait),
        reset_to=reset_to,
        on_look=lambda _: is_worse,
    )
    assert shown
    return end, told


@pytest.fixture
def ecs() -> FakeEcs:
    return FakeEcs(service(deployment(NEW, status="PRIMARY", running=0), deployment(OLD)))


def ends(ecs: FakeEcs, status: str, *, at: int) -> Callable[[int], None]:
    """End the rollout at that wait."""

    def on_wait(number: int) -> None:
        if number == at:
            ecs.becomes(status)

    return on_wait


def test_after_an_interrupt_a_user_who_keeps_watching_sees_the_end(ecs: FakeEcs) -> None:
    interruptions = Interruptions(2, on_wait=ends(ecs, "SUCCESSFUL", at=4))
    asked = Asked(Choice.KEEP)

    end, _ = followed(ecs, interruptions, asked)

    assert end is not None
    assert end.outcome is RolloutOutcome.SUCCEEDED
    assert (asked.times, interruptions.cleared) == (1, 1)
    assert ecs.calls == []


def test_after_an_interrupt_a_rollback_is_left_to_ecs_and_followed(ecs: FakeEcs) -> None:
    ecs.on_change = lambda: ecs.becomes("ROLLBACK_REQUESTED")
    interruptions = Interruptions(1, on_wait=ends(ecs, "ROLLBACK_SUCCESSFUL", at=3))

    end, _ = followed(ecs, interruptions, Asked(Choice.ROLL_BACK))

    assert end is not None
    assert end.outcome is RolloutOutcome.ROLLED_BACK
    assert ecs.calls == [("roll back", service_deployment().arn)]


def test_a_rollback_that_ecs_refuses_is_reported_and_the_rollout_is_still_watched(ecs: FakeEcs) -> None:
    def refuse() -> None:
        raise denied("StopServiceDeployment")

    ecs.on_change = refuse
    interruptions = Interruptions(1, on_wait=ends(ecs, "SUCCESSFUL", at=2))

    end, told = followed(ecs, interruptions, Asked(Choice.ROLL_BACK))

    assert end is not None
    assert end.outcome is RolloutOutcome.SUCCEEDED
    assert told == ["ECS does not roll it back: not yours"]


def test_the_rollback_of_a_worse_version_is_requested_until_ecs_accepts(ecs: FakeEcs) -> None:
    def refuse_twice() -> None:
        if len(ecs.calls) < 3:
            raise denied("StopServiceDeployment")
        ecs.becomes("ROLLBACK_REQUESTED")

    ecs.on_change = refuse_twice
    interruptions = Interruptions(on_wait=ends(ecs, "ROLLBACK_SUCCESSFUL", at=5))

    end, told = followed(ecs, interruptions, Asked(), is_worse=True)

    assert end is not None
    assert end.outcome is RolloutOutcome.ROLLED_BACK
    assert ecs.calls == [("roll back", service_deployment().arn)] * 3
    assert told == ["ECS does not roll it back: not yours"], "the same refusal is told once"


def test_what_has_ended_is_not_taken_back(ecs: FakeEcs) -> None:
    ecs.becomes("SUCCESSFUL")

    followed(ecs, Interruptions(), Asked(), is_worse=True)

    assert ecs.calls == []


def test_detaching_changes_nothing(ecs: FakeEcs) -> None:
    end, _ = followed(ecs, Interruptions(1), Asked(Choice.DETACH))

    assert end is None
    assert ecs.calls == []


def test_a_command_ended_by_another_process_asks_nobody(ecs: FakeEcs) -> None:
    asked = Asked(Choice.KEEP)

    end, _ = followed(ecs, Interruptions(1, final=True), asked)

    assert end is None
    assert asked.times == 0


def test_a_first_release_that_ecs_rolls_back_returns_to_its_count_at_once_and_once(ecs: FakeEcs) -> None:
    statuses = {1: "ROLLBACK_REQUESTED", 2: "ROLLBACK_IN_PROGRESS", 4: "ROLLBACK_SUCCESSFUL"}
    interruptions = Interruptions(on_wait=lambda n: ecs.becomes(statuses.get(n, ecs.own.status)))

    end, _ = followed(ecs, interruptions, Asked(), reset_to=0)

    assert end is not None
    assert ecs.calls == [("update", None, 0, False)]


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_pause_is_asked_about_once_and_answered(ecs: FakeEcs, goes_on: bool) -> None:  # noqa: FBT001
    clock, stages = Clock(), list[str]()
    ecs.own = replace(ecs.own, stage="POST_TEST_TRAFFIC_SHIFT", hooks=(WAITING,))

    def decide(stage: str, hook: HookState) -> bool:
        stages.append(stage)
        assert hook == WAITING
        return goes_on

    follow(
        Watch(
            ecs,
            StartedRollout(
                service_deployment_arn=ecs.own.arn, task_definition_arn=NEW, seen=frozenset(), at=clock.now
            ),
            stall_after=1000,
            clock=clock,
        ),
        ecs,
        show=lambda _: None,
        interruption=Interruptions(on_wait=ends(ecs, "SUCCESSFUL", at=3)),
        on_interrupt=Asked(),
        patience=Patience(report=lambda _: None, clock=clock, wait=clock.wait),
        on_pause=decide,
    )

    assert stages == ["POST_TEST_TRAFFIC_SHIFT"]
    assert ecs.calls == [("answer", "hook", goes_on)]

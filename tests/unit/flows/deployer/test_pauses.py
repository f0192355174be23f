"""The clean-up of pauses: what it sends, and that its failure is a warning."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf.errors import LeaseLostError
from mclass_tf.flows.deployer.pauses import Pauses
from mclass_tf.rollout import Patience, RolloutEnd, RolloutOutcome
from mclass_tf.rollout.view import RolloutReading
from mclass_tf.service import Ecs
from tests.unit.fake_service import (
    NEW,
    Clock,
    FakeEcs,
    denied,
    deployment,
    service,
    service_deployment,
    throttled,
)

PAUSE = {"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]}
LAMBDA = {"targetType": "AWS_LAMBDA", "hookTargetArn": "function", "lifecycleStages": ["POST_SCALE_UP"]}
PAUSED = replace(
    service(deployment(NEW, status="PRIMARY")),
    configuration={"strategy": "CANARY", "maximumPercent": 200, "lifecycleHooks": [LAMBDA, PAUSE]},
)


def pauses(ecs: FakeEcs) -> tuple[Pauses, list[str]]:
    lines: list[str] = []
    clock = Clock()
    session = SimpleNamespace(environment=SimpleNamespace(name="dev"), report=lines.append)
    made = Pauses(
        session=cast("Any", session),
        outputs=cast("Any", None),
        ecs=cast("Ecs", ecs),
        patience=Patience(report=lambda _: None, clock=clock, wait=clock.wait),
    )
    return made, lines


def ended(outcome: RolloutOutcome = RolloutOutcome.SUCCEEDED) -> RolloutEnd:
    last = RolloutReading(deployment=service_deployment(), service=PAUSED, running=(), target_states={})
    return RolloutEnd(outcome=outcome, last=last)


def test_the_clean_up_sends_the_hooks_alone() -> None:
    ecs = FakeEcs(PAUSED)

    pauses(ecs)[0].drop_after(ended())

    assert ecs.calls == [
        ("update", None, None, False, {"deploymentConfiguration": {"lifecycleHooks": [LAMBDA]}})
    ]


@pytest.mark.parametrize("error", [denied("UpdateService"), throttled("UpdateService")])
def test_a_clean_up_that_fails_is_a_warning_with_what_to_do(error: Exception) -> None:
    ecs = FakeEcs(PAUSED)

    def refuse() -> None:
        raise error

    ecs.on_change = refuse
    made, lines = pauses(ecs)

    made.drop_after(ended())

    (line,) = lines
    assert line.startswith("warning: the pauses of this release stay in the service: ")
    assert "`release dev` removes them" in line


def test_a_bug_in_the_clean_up_is_not_a_warning() -> None:
    ecs = FakeEcs(PAUSED)

    def fail() -> None:
        raise KeyError("a bug")

    ecs.on_change = fail
    with pytest.raises(KeyError):
        pauses(ecs)[0].drop_after(ended())


@pytest.mark.parametrize("outcome", [RolloutOutcome.SUCCEEDED, RolloutOutcome.ROLLED_BACK])
def test_a_lost_lease_ends_a_release_that_succeeded_alone(outcome: RolloutOutcome) -> None:
    ecs = FakeEcs(PAUSED)

    def lose() -> None:
        raise LeaseLostError("the lease is lost")

    ecs.guarded(lose)
    made, lines = pauses(ecs)
    if outcome is RolloutOutcome.SUCCEEDED:
        with pytest.raises(LeaseLostError):
            made.drop_after(ended(outcome))
        return
    made.drop_after(ended(outcome))
    assert "the lease is lost" in lines[0]

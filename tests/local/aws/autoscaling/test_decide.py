"""Target tracking's decisions, from its alarms."""

from __future__ import annotations

import dataclasses
import math

import pytest

from mclass_tf.local.aws.autoscaling.decide import Capacity, LastActivity, Reading, ScalingDecision, decide

_CAPACITY = Capacity(current=4, lowest=2, highest=10)
_QUIET = Reading(policy="cpu", target=50, value=48)
_HIGH = dataclasses.replace(_QUIET, value=80, high="cpu-high")
_LOW = dataclasses.replace(_QUIET, value=20, low="cpu-low")
_OTHER_LOW = Reading(policy="requests", target=100, value=60, low="requests-low")
_NEVER = LastActivity()


def _decide(
    *readings: Reading,
    capacity: Capacity = _CAPACITY,
    last_out: LastActivity = _NEVER,
    last_in: LastActivity = _NEVER,
) -> int | None:
    found = decide(capacity, readings, last_out=last_out, last_in=last_in)
    return None if found is None else found.capacity


@pytest.mark.parametrize(
    ("readings", "capacity"),
    [
        pytest.param([_QUIET], None, id="neither alarm"),
        pytest.param([_HIGH], 7, id="out by the share above the target"),
        pytest.param([dataclasses.replace(_HIGH, value=500)], 10, id="out to the maximum"),
        pytest.param([_HIGH, _OTHER_LOW], 7, id="one scales out, the other in"),
        pytest.param([_HIGH, dataclasses.replace(_HIGH, value=100)], 8, id="the highest proposal"),
        pytest.param([_LOW], 2, id="in by the share below the target"),
        pytest.param([dataclasses.replace(_LOW, value=0)], 2, id="in to the minimum"),
        pytest.param([_LOW, _OTHER_LOW], 3, id="all scale in: the highest proposal"),
        pytest.param([_LOW, dataclasses.replace(_QUIET, policy="memory")], None, id="not all scale in"),
        pytest.param([_LOW, Reading(policy="memory", target=50, value=None)], None, id="one without data"),
        pytest.param(
            [_LOW, dataclasses.replace(_QUIET, policy="memory", can_scale_in=False)],
            2,
            id="a policy with scale-in disabled is ignored",
        ),
        pytest.param([dataclasses.replace(_LOW, can_scale_in=False)], None, id="may not scale in"),
        pytest.param([dataclasses.replace(_HIGH, value=None)], None, id="high once, nothing known now"),
    ],
)
def test_any_policy_scales_out_but_only_all_together_scale_in(
    readings: list[Reading], capacity: int | None
) -> None:
    assert _decide(*readings) == capacity


def test_exact_quotients_are_not_rounded_up() -> None:
    assert Reading(policy="cpu", target=0.1, value=0.3).proposal(1) == 3


def test_the_decision_names_its_cause() -> None:
    found = decide(_CAPACITY, [_HIGH, _OTHER_LOW], last_out=_NEVER, last_in=_NEVER)
    assert found == ScalingDecision(capacity=7, policy="cpu", alarm="cpu-high")


def test_during_the_cooldown_capacity_added_before_counts() -> None:
    grown = dataclasses.replace(_CAPACITY, current=7)
    cooling = LastActivity(ago=299, before=4)
    assert _decide(_HIGH, capacity=grown, last_out=cooling) is None
    assert _decide(dataclasses.replace(_HIGH, value=100), capacity=grown, last_out=cooling) == 8
    assert _decide(_HIGH, capacity=grown, last_out=LastActivity(ago=300, before=4)) == 10


def test_the_scale_in_cooldown_prevents_scale_in() -> None:
    assert _decide(_LOW, last_in=LastActivity(ago=299, before=8)) is None
    assert _decide(_LOW, last_in=LastActivity(ago=300, before=8)) == 2
    assert _decide(_LOW, last_out=LastActivity(ago=1, before=2)) == 2


def test_scale_out_ignores_the_scale_in_cooldown() -> None:
    assert _decide(_HIGH, last_in=LastActivity(ago=1, before=8)) == 7


def test_a_deployment_in_progress_prevents_scale_in() -> None:
    deploying = dataclasses.replace(_CAPACITY, is_deploying=True)
    assert _decide(_LOW, capacity=deploying) is None
    assert _decide(_HIGH, capacity=deploying) == 7


@pytest.mark.parametrize(
    ("suspended", "out", "into"), [("can_scale_out", None, 2), ("can_scale_in", 7, None)]
)
def test_suspended_scaling_does_not_happen(suspended: str, out: int | None, into: int | None) -> None:
    capacity = dataclasses.replace(_CAPACITY, **{suspended: False})
    assert (_decide(_HIGH, capacity=capacity), _decide(_LOW, capacity=capacity)) == (out, into)


def test_there_is_no_cooldown_before_the_first_activity() -> None:
    assert _NEVER.ago == math.inf

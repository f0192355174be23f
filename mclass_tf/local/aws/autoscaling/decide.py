"""Decides from the alarms of target tracking policies how many tasks a service needs.

https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOW_SHARE = 0.9  # share of the target value below which the low alarm is in ALARM
COOLDOWN = 300.0  # the default for ECS services, in simulated seconds

# A rounding error in a quotient such as 140 / 70 must not lead to 3 tasks.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A policy, the newest value of its metric and its alarms. Cooldowns are in simulated seconds.

    `high` and `low` are the names of the alarms if they are in ALARM, otherwise None.
    """

    policy: str
    target: float
    value: float | None
    high: str | None = None
    low: str | None = None
    scale_out_cooldown: float = COOLDOWN
    scale_in_cooldown: float = COOLDOWN
    can_scale_in: bool = True

    def proposal(self, capacity: int) -> int:
        """Return the capacity that brings the metric to its target."""
        return math.ceil(capacity * (self.value or 0.0) / self.target - _ROUNDING)


@dataclass(frozen=True, kw_only=True)
class LastActivity:
    """The last activity in one direction: how long `ago` in simulated seconds, and the capacity `before` it."""

    ago: float = math.inf
    before: int = 0


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The current capacity and its bounds. `is_deploying`: a deployment is in progress, which prevents scale-in."""

    current: int
    lowest: int
    highest: int
    can_scale_out: bool = True
    can_scale_in: bool = True
    is_deploying: bool = False


@dataclass(frozen=True, kw_only=True)
class ScalingDecision:
    """The new capacity, and the alarm and policy that caused it."""

    capacity: int
    policy: str
    alarm: str


def decide(
    capacity: Capacity, readings: Sequence[Reading], *, last_out: LastActivity, last_in: LastActivity
) -> ScalingDecision | None:
    """Return the new capacity, or None to leave it.

    Scale out if any policy requires it. Scale in only if all policies that may scale in agree.
    """
    known = [reading for reading in readings if reading.value is not None]
    if any(reading.high for reading in known):
        return _scale_out(capacity, [reading for reading in known if reading.high], last=last_out)
    lows = [reading for reading in readings if reading.can_scale_in]
    if not lows or any(reading.low is None or reading.value is None for reading in lows):
        return None
    return _scale_in(capacity, lows, last=last_in)


def _scale_out(
    capacity: Capacity, readings: Sequence[Reading], *, last: LastActivity
) -> ScalingDecision | None:
    """During the cooldown, the capacity that the last scale-out added counts towards this one."""
    if not capacity.can_scale_out:
        return None

    def desired(reading: Reading) -> int:
        cooling = last.ago < reading.scale_out_cooldown
        return reading.proposal(last.before if cooling else capacity.current)

    most = max(readings, key=desired)
    target = min(desired(most), capacity.highest)
    if target <= capacity.current or most.high is None:
        return None
    return ScalingDecision(capacity=target, policy=most.policy, alarm=most.high)


def _scale_in(
    capacity: Capacity, readings: Sequence[Reading], *, last: LastActivity
) -> ScalingDecision | None:
    if not capacity.can_scale_in or capacity.is_deploying:
        return None
    if any(last.ago < reading.scale_in_cooldown for reading in readings):
        return None
    most = max(readings, key=lambda reading: reading.proposal(capacity.current))
    target = max(most.proposal(capacity.current), capacity.lowest)
    if target >= capacity.current or most.low is None:
        return None
    return ScalingDecision(capacity=target, policy=most.policy, alarm=most.low)

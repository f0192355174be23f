"""Decides the state of an alarm from its datapoints, with the reason in CloudWatch's wording.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

OK, ALARM, INSUFFICIENT_DATA = "OK", "ALARM", "INSUFFICIENT_DATA"

MORE_PERIODS = 2  # periods before the evaluated ones that replace missing datapoints

_OPERATORS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
OPERATORS = tuple(_OPERATORS)
TREATMENTS = ("breaching", "notBreaching", "ignore", "missing")


@dataclass(frozen=True, kw_only=True)
class AlarmCondition:
    """An alarm is in ALARM if `datapoints` of the last `periods` breach the threshold."""

    comparison: str
    threshold: float
    periods: int
    datapoints: int
    missing: str = "missing"

    def is_breached_by(self, value: float) -> bool:
        return _OPERATORS[self.comparison][0](value, self.threshold)


@dataclass(frozen=True, kw_only=True)
class Point:
    """The datapoint of a period that began at `at` (seconds since the epoch). `value` is None without data."""

    at: float
    value: float | None


@dataclass(frozen=True, kw_only=True)
class AlarmState:
    """`evaluated` contains the decisive datapoints, newest first."""

    value: str
    reason: str
    evaluated: tuple[Point, ...] = ()


def decide(condition: AlarmCondition, points: Sequence[Point]) -> AlarmState | None:
    """Return the new state, or None if the alarm keeps its state.

    `points` are the last periods, oldest first: the evaluated periods and MORE_PERIODS before them.
    """
    known = [point for point in points if point.value is not None]
    recent = tuple(reversed(known[-condition.periods :]))
    missing = condition.periods - len(recent)
    breaching = sum(1 for point in recent if condition.is_breached_by(_value(point)))
    if missing == 0 or breaching >= condition.datapoints:
        return _by_data(condition, recent)
    if condition.missing in ("breaching", "notBreaching"):
        return _by_treatment(condition, recent, missing=missing, breaching=breaching)
    if breaching < len(recent):
        return _by_data(condition, recent)
    if condition.missing == "ignore":
        return None
    if recent and _is_old_enough(condition, points):
        return _by_data(condition, recent, is_alarm=True)
    return AlarmState(value=INSUFFICIENT_DATA, reason=_unknown(missing), evaluated=recent)


def _is_old_enough(condition: AlarmCondition, points: Sequence[Point]) -> bool:
    """Return whether the oldest known datapoint is old enough for ALARM with fewer datapoints than required, all breaching."""
    last = points[-condition.periods :]
    oldest = next((index for index, point in enumerate(last) if point.value is not None), None)
    return oldest is not None and len(last) - oldest >= condition.datapoints


def _value(point: Point) -> float:
    return 0.0 if point.value is None else point.value


def _by_data(condition: AlarmCondition, recent: tuple[Point, ...], *, is_alarm: bool = False) -> AlarmState:
    breaching = sum(1 for point in recent if condition.is_breached_by(_value(point)))
    value = ALARM if is_alarm or breaching >= condition.datapoints else OK
    needed = condition.datapoints
    if value == ALARM:
        points = [point for point in recent if condition.is_breached_by(_value(point))]
        change = f"{OK} -> {ALARM}"
    else:
        points = [point for point in recent if not condition.is_breached_by(_value(point))]
        needed = condition.periods - condition.datapoints + 1
        change = f"{ALARM} -> {OK}"
    verb = "was" if len(points) == 1 else "were"
    negation = "" if value == ALARM else "not "
    listed = ", ".join(f"{_value(point)} ({_time(point.at)})" for point in points)
    reason = (
        f"Threshold Crossed: {len(points)} out of the last {len(recent)} datapoints [{listed}] {verb} {negation}"
        f"{_OPERATORS[condition.comparison][1]} the threshold ({condition.threshold}) (minimum {needed} "
        f"{_plural(needed, 'datapoint')} for {change} transition)."
    )
    return AlarmState(value=value, reason=reason, evaluated=recent)


def _by_treatment(
    condition: AlarmCondition, recent: tuple[Point, ...], *, missing: int, breaching: int
) -> AlarmState:
    is_alarm = condition.missing == "breaching" and breaching + missing >= condition.datapoints
    value = ALARM if is_alarm else OK
    count = "no" if not recent else str(len(recent))
    verb = "was" if len(recent) == 1 else "were"
    treated = "Breaching" if condition.missing == "breaching" else "NonBreaching"
    reason = (
        f"Threshold Crossed: {count} {_plural(len(recent), 'datapoint')} {verb} received for {condition.periods} "
        f"{_plural(condition.periods, 'period')} and {missing} missing {_plural(missing, 'datapoint')} "
        f"{'was' if missing == 1 else 'were'} treated as [{treated}]."
    )
    return AlarmState(value=value, reason=reason, evaluated=recent)


def _unknown(missing: int) -> str:
    verb = "was" if missing == 1 else "were"
    return f"Insufficient Data: {missing} {_plural(missing, 'datapoint')} {verb} unknown."


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def _time(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%d/%m/%y %H:%M:%S")

"""The states of alarms, according to the tables in CloudWatch's guide.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from __future__ import annotations

import dataclasses

import pytest

from mclass_tf.local.aws.cloudwatch.alarm_states import (
    ALARM,
    INSUFFICIENT_DATA,
    MORE_PERIODS,
    OK,
    TREATMENTS,
    AlarmCondition,
    AlarmState,
    Point,
    decide,
)

_RETAINED = None
_THREE = AlarmCondition(comparison="GreaterThanThreshold", threshold=5.0, periods=3, datapoints=3)
_TWO_OF_THREE = dataclasses.replace(_THREE, datapoints=2)
_START = 1_700_000_000.0  # 14/11/23 22:13:20


def _points(drawn: str) -> list[Point]:
    """Return points, oldest first: 0 is within the threshold, X breaching, - missing."""
    values = {"0": 1.0, "X": 9.0, "-": None}
    return [Point(at=_START + 60 * index, value=values[sign]) for index, sign in enumerate(drawn.split())]


def _state(condition: AlarmCondition, drawn: str, *, missing: str = "missing") -> AlarmState | None:
    return decide(dataclasses.replace(condition, missing=missing), _points(drawn))


def _value(condition: AlarmCondition, drawn: str, *, missing: str) -> str | None:
    found = _state(condition, drawn, missing=missing)
    return None if found is None else found.value


_BY_TABLE = ("missing", "ignore", "breaching", "notBreaching")


@pytest.mark.parametrize(
    ("drawn", "states"),
    [
        ("0 - X - X", (OK, OK, OK, OK)),
        ("- - - - 0", (OK, OK, OK, OK)),
        ("- - - - -", (INSUFFICIENT_DATA, _RETAINED, ALARM, OK)),
        ("0 X X - X", (ALARM, ALARM, ALARM, ALARM)),
        ("- - X - -", (ALARM, _RETAINED, ALARM, OK)),
        ("- - - - X", (INSUFFICIENT_DATA, _RETAINED, ALARM, OK)),
    ],
)
def test_three_out_of_three(drawn: str, states: tuple[str | None, ...]) -> None:
    assert tuple(_value(_THREE, drawn, missing=missing) for missing in _BY_TABLE) == states


@pytest.mark.parametrize(
    ("drawn", "states"),
    [
        ("0 - X - X", (ALARM, ALARM, ALARM, ALARM)),
        ("0 0 X 0 X", (ALARM, ALARM, ALARM, ALARM)),
        ("0 - X - -", (OK, OK, ALARM, OK)),
        ("- - - - 0", (OK, OK, ALARM, OK)),
        ("- - - X -", (ALARM, _RETAINED, ALARM, OK)),
    ],
)
def test_two_out_of_three(drawn: str, states: tuple[str | None, ...]) -> None:
    assert tuple(_value(_TWO_OF_THREE, drawn, missing=missing) for missing in _BY_TABLE) == states


def test_the_tables_cover_every_treatment() -> None:
    assert set(_BY_TABLE) == set(TREATMENTS)
    assert len(_points("0 - X - X")) == _THREE.periods + MORE_PERIODS


@pytest.mark.parametrize(
    ("comparison", "breaching"),
    [
        ("GreaterThanThreshold", [False, False, True]),
        ("GreaterThanOrEqualToThreshold", [False, True, True]),
        ("LessThanThreshold", [True, False, False]),
        ("LessThanOrEqualToThreshold", [True, True, False]),
    ],
)
def test_comparison_operators(comparison: str, breaching: list[bool]) -> None:
    condition = dataclasses.replace(_THREE, comparison=comparison)
    assert [condition.is_breached_by(value) for value in (4.0, 5.0, 6.0)] == breaching


@pytest.mark.parametrize(
    ("condition", "drawn", "missing", "reason"),
    [
        pytest.param(
            dataclasses.replace(_THREE, periods=1, datapoints=1),
            "0 0 X",
            "missing",
            "Threshold Crossed: 1 out of the last 1 datapoints [9.0 (14/11/23 22:15:20)] was greater than the threshold (5.0) "
            "(minimum 1 datapoint for OK -> ALARM transition).",
            id="one breaches",
        ),
        pytest.param(
            _TWO_OF_THREE,
            "0 0 X 0 X",
            "missing",
            "Threshold Crossed: 2 out of the last 3 datapoints [9.0 (14/11/23 22:17:20), 9.0 (14/11/23 22:15:20)] were greater "
            "than the threshold (5.0) (minimum 2 datapoints for OK -> ALARM transition).",
            id="two of three, the newest first",
        ),
        pytest.param(
            dataclasses.replace(_THREE, periods=1, datapoints=1),
            "X X 0",
            "missing",
            "Threshold Crossed: 1 out of the last 1 datapoints [1.0 (14/11/23 22:15:20)] was not greater than the threshold (5.0) "
            "(minimum 1 datapoint for ALARM -> OK transition).",
            id="back to OK",
        ),
        pytest.param(
            dataclasses.replace(_THREE, periods=1, datapoints=1),
            "- - -",
            "notBreaching",
            "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as [NonBreaching].",
            id="nothing, which is good",
        ),
        pytest.param(
            _THREE,
            "- - - - X",
            "breaching",
            "Threshold Crossed: 1 datapoint was received for 3 periods and 2 missing datapoints were treated as [Breaching].",
            id="little, which is bad",
        ),
        pytest.param(
            _THREE,
            "- - - - -",
            "missing",
            "Insufficient Data: 3 datapoints were unknown.",
            id="nothing known",
        ),
    ],
)
def test_the_reason_has_cloudwatch_s_wording(
    condition: AlarmCondition, drawn: str, missing: str, reason: str
) -> None:
    found = _state(condition, drawn, missing=missing)
    assert found is not None
    assert found.reason == reason

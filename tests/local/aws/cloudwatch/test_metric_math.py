"""Metric math: expressions over metrics."""

from __future__ import annotations

import pytest

from mclass_tf.local.aws.cloudwatch.metric_math import Context, ExpressionError, TimeSeries, evaluate

_METRICS = {
    "m1": TimeSeries({0: 1.0, 1: 2.0, 2: 3.0}),
    "m2": TimeSeries({1: 10.0, 2: 0.0}),
    "none": TimeSeries(),
}
_CONTEXT = Context(metrics=_METRICS, periods=4, seconds=60)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("m1", {0: 1, 1: 2, 2: 3}),
        ("m1 + 1", {0: 2, 1: 3, 2: 4}),
        ("2 * m1 - 1", {0: 1, 1: 3, 2: 5}),
        ("2 * (m1 - 1)", {0: 0, 1: 2, 2: 4}),
        ("-m1 ^ 2", {0: -1, 1: -4, 2: -9}),
        ("m1 + m2", {1: 12, 2: 3}),
        ("100 * m1 / m2", {1: 20}),
        ("m1 / 0", {}),
        ("m1 > 1 AND m1 < 3", {0: 0, 1: 1, 2: 0}),
        ("m1 == 1 || m1 >= 3", {0: 1, 1: 0, 2: 1}),
        ("FILL(m2, 0)", {0: 0, 1: 10, 2: 0, 3: 0}),
        ("FILL(m2, REPEAT)", {1: 10, 2: 0, 3: 0}),
        ("FILL(m2, m1)", {0: 1, 1: 10, 2: 0}),
        ("FILL(none, 0)", {0: 0, 1: 0, 2: 0, 3: 0}),
        ("MAX([FILL(m1, 0), FILL(m2, 0)])", {0: 1, 1: 10, 2: 3, 3: 0}),
        ("MAX([m1, m2])", {0: 1, 1: 10, 2: 3}),
        ("MIN([m1, m2])", {0: 1, 1: 2, 2: 0}),
        ("AVG([m1, m2])", {0: 1, 1: 6, 2: 1.5}),
        ("SUM(METRICS())", {0: 1, 1: 12, 2: 3}),
        ('SUM(METRICS("m1"))', {0: 1, 1: 2, 2: 3}),
        ("m1 / SUM(m1)", {0: 1 / 6, 1: 2 / 6, 2: 3 / 6}),
        ("IF(m1 > 1, m1, 0)", {0: 0, 1: 2, 2: 3}),
        ("IF(m1 > 1, m2)", {1: 10, 2: 0}),
        ("m1 / PERIOD(m1)", {0: 1 / 60, 1: 2 / 60, 2: 3 / 60}),
        ("DIFF(m1)", {1: 1, 2: 1}),
        ("RATE(m1)", {1: 1 / 60, 2: 1 / 60}),
        ("RUNNING_SUM(m1)", {0: 1, 1: 3, 2: 6}),
        ("ABS(m1 - 2)", {0: 1, 1: 0, 2: 1}),
        ("CEIL(m1 / 2)", {0: 1, 1: 1, 2: 2}),
        ("TIME_SERIES(7)", {0: 7, 1: 7, 2: 7, 3: 7}),
    ],
)
def test_an_expression_is_what_cloudwatch_makes_of_it(expression: str, result: dict[int, float]) -> None:
    assert evaluate(expression, _CONTEXT) == pytest.approx(result)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "m3",
        "m1 +",
        "(m1",
        "m1)",
        "m1 m2",
        "1 + 1",
        "[m1, m2]",
        "MAX(m1)",
        "ANOMALY_DETECTION_BAND(m1)",
        "FILL(m1)",
        "m1 ? 1",
        "FILL(m1, '0')",
        "SELECT AVG(x) FROM y",
    ],
)
def test_what_is_wrong_or_not_modelled_is_an_error(expression: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(expression, _CONTEXT)

"""Metric math: the maximum of metrics, the only expression that is modelled."""

from __future__ import annotations

import pytest
from moto.cloudwatch.exceptions import ValidationError

from mclass_tf.local.aws.cloudwatch.metric_math import highest
from mclass_tf.local.aws.cloudwatch.metrics import TimeSeries

_METRICS: dict[str, TimeSeries] = {"m1": {0: 1.0, 1: 2.0, 2: 3.0}, "m2": {1: 10.0, 2: 0.0}, "none": {}}


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("MAX([FILL(m1, 0), FILL(m2, 0)])", {0: 1, 1: 10, 2: 3, 3: 0}),
        ("IF(FILL(m1, 0) >= FILL(m2, 0), m1, m2)", {0: 1, 1: 10, 2: 3}),
        ("IF(FILL(m2, 0) >= FILL(m1, 0), m2, m1)", {0: 1, 1: 10, 2: 3}),
        ("IF(FILL(none, 0) >= FILL(m2, 0), none, m2)", {1: 10}),
        ("MAX([FILL(m2, 0)])", {0: 0, 1: 10, 2: 0, 3: 0}),
        ("MAX([FILL(none, 0)])", {0: 0, 1: 0, 2: 0, 3: 0}),
        ("MAX([FILL(none, 0), FILL(m1, 0), FILL(m2, 0)])", {0: 1, 1: 10, 2: 3, 3: 0}),
    ],
)
def test_an_expression_has_the_same_result_as_in_cloudwatch(
    expression: str, result: dict[int, float]
) -> None:
    assert highest(expression, _METRICS, periods=4) == result


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "m1",
        "m3",
        "m1 +",
        "(m1",
        "m1)",
        "m1 m2",
        "1 + 1",
        "[m1, m2]",
        "MAX(m1)",
        "MAX([])",
        "MAX([m1, m2])",
        "IF(FILL(m1, 0) >= FILL(m2, 0), m2, m1)",
        "IF(m1 >= m2, m1, m2)",
        "MAX([FILL(m1, 0), FILL(m3, 0)])",
        "MAX([FILL(m1, 0), FILL(m2, 0)]) + 1",
        "100 * m1 / m2",
        "ANOMALY_DETECTION_BAND(m1)",
        "FILL(m1)",
        "FILL(m1, 0)",
        "FILL(m2, REPEAT)",
        "m1 ? 1",
        "FILL(m1, '0')",
        "SELECT AVG(x) FROM y",
    ],
)
def test_an_invalid_or_unmodelled_expression_is_an_error(expression: str) -> None:
    with pytest.raises(ValidationError, match="Error in expression"):
        highest(expression, _METRICS, periods=4)

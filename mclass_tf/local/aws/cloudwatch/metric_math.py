"""Metric math: the higher of two metrics, with which modules/ecs-service scales on the busier of two target groups.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from moto.cloudwatch.exceptions import ValidationError

from mclass_tf.local.aws.cloudwatch.metrics import TimeSeries

_FILLED = r"FILL\(([a-z]\w*), 0\)"
_HIGHEST = re.compile(rf"MAX\(\[{_FILLED}(?:, {_FILLED})*\]\)", re.ASCII)
_HIGHER = re.compile(rf"IF\({_FILLED} >= {_FILLED}, (?P<then>[a-z]\w*), (?P<other>[a-z]\w*)\)", re.ASCII)


def highest(expression: str, metrics: Mapping[str, TimeSeries], *, periods: int) -> TimeSeries:
    """Return the higher of the metrics whose ids the expression names.

    MAX([FILL(a, 0), …]) has the value 0 where all are missing. IF(FILL(a, 0) >= FILL(b, 0), a, b) has none there.
    Raise CloudWatch's ValidationError for any other kind of expression.
    """
    ids = re.findall(_FILLED, expression, re.ASCII)
    choice = _HIGHER.fullmatch(expression)
    is_known = _HIGHEST.fullmatch(expression) or (choice and [choice["then"], choice["other"]] == ids)
    if not is_known or not metrics.keys() >= set(ids):
        raise ValidationError(
            f"Error in expression {expression!r}: the local AWS models MAX([FILL(m1, 0), FILL(m2, 0)]) and "
            "IF(FILL(m1, 0) >= FILL(m2, 0), m1, m2) alone, of metrics of the same list"
        )
    series: dict[int, float] = {}
    for period in range(periods):
        values = [metrics[name].get(period) for name in ids]
        filled = [value or 0.0 for value in values]
        value = values[filled.index(max(filled))] if choice else max(filled)
        if value is not None:
            series[period] = value
    return series

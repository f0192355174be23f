"""Metric math: the maximum of metrics, with which modules/ecs-service scales on the busier of two target groups.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from moto.cloudwatch.exceptions import ValidationError

from mclass_tf.local.aws.cloudwatch.metrics import TimeSeries

_FILLED = r"FILL\(([a-z]\w*), 0\)"
_HIGHEST = re.compile(rf"MAX\(\[{_FILLED}(?:, {_FILLED})*\]\)", re.ASCII)


def highest(expression: str, metrics: Mapping[str, TimeSeries], *, periods: int) -> TimeSeries:
    """Return the maximum of the metrics whose ids the expression names. A missing value counts as 0.

    Raise CloudWatch's ValidationError for any other kind of expression.
    """
    ids = re.findall(_FILLED, expression, re.ASCII)
    if not _HIGHEST.fullmatch(expression) or not metrics.keys() >= set(ids):
        raise ValidationError(
            f"Error in expression {expression!r}: the local AWS models the form MAX([FILL(m1, 0), FILL(m2, 0)]) alone, "
            "of metrics of the same list"
        )
    return {period: max(metrics[name].get(period, 0.0) for name in ids) for period in range(periods)}

"""Validates alarms, so that PutMetricAlarm rejects an alarm that cannot be evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moto.cloudwatch.exceptions import InvalidParameterValue, ValidationError

from mclass_tf.local.aws.cloudwatch import alarm_states, metric_math
from mclass_tf.local.aws.cloudwatch.metrics import MINUTE, is_statistic

_SHORT_PERIODS = (1, 5, 10, 30)


def check_alarm(alarm: Mapping[str, Any]) -> None:
    """Reject an alarm that cannot be evaluated, with CloudWatch's error or NotImplementedError."""
    if alarm.get("rule") is not None:
        raise NotImplementedError("composite alarms")
    if alarm.get("threshold_metric_id"):
        raise NotImplementedError("anomaly detection")
    comparison = alarm["comparison_operator"]
    if comparison not in alarm_states.OPERATORS:
        raise ValidationError(f"The local AWS does not model the comparison operator {comparison}")
    if alarm.get("treat_missing_data") not in (None, *alarm_states.TREATMENTS):
        raise InvalidParameterValue(
            f"The value {alarm['treat_missing_data']} for TreatMissingData is not supported."
        )
    periods = int(alarm["evaluation_periods"])
    if not 1 <= int(alarm.get("datapoints_to_alarm") or periods) <= periods:
        raise ValidationError("DatapointsToAlarm must be from 1 to EvaluationPeriods")
    queries = alarm.get("metric_data_queries") or []
    if queries:
        _check_queries(queries)
        return
    if not alarm.get("statistic") and not alarm.get("extended_statistic"):
        raise ValidationError("Must specify either Statistic or ExtendedStatistic")
    if alarm.get("statistic"):
        check_statistic(alarm["statistic"], parameter="Statistic")
    else:
        check_statistic(alarm["extended_statistic"], parameter="ExtendedStatistic")
    check_period(int(alarm["period"]))


def _check_queries(queries: Sequence[Any]) -> None:
    if sum(map(is_returned, queries)) != 1:
        raise ValidationError("Exactly one element of the metrics list should return data.")
    metrics = {query.id: query.metric_stat for query in queries if query.metric_stat is not None}
    if len({int(metric.period) for metric in metrics.values()}) > 1:
        raise ValidationError("Metrics list must have the same period for all metrics.")
    for metric in metrics.values():
        check_statistic(metric.stat)
        check_period(int(metric.period))
    for query in queries:
        if query.expression:
            metric_math.highest(query.expression, {name: {} for name in metrics}, periods=0)


def is_returned(query: Any) -> bool:
    """Return whether the alarm watches the query's result. moto stores the flag as a boolean, a string or None."""
    return str(query.return_data).lower() in ("true", "none")


def check_statistic(name: str, *, parameter: str = "Stat") -> None:
    if not is_statistic(name):
        raise InvalidParameterValue(f"The value {name} for parameter {parameter} is not supported.")


def check_period(period: int) -> None:
    if period not in _SHORT_PERIODS and (period <= 0 or period % MINUTE):
        raise InvalidParameterValue(
            f"The parameter Period must be 1, 5, 10, 30 or a multiple of {MINUTE}, not {period}."
        )

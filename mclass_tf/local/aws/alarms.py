"""Evaluates CloudWatch alarms at the end of each of their periods, and executes scaling policies.

The alarms of `release.alarms` roll deployments back. Those of target tracking scale services.

An alarm's period follows the simulated clock: at speed 10, a period of 60 s ends after 6 s and covers the data of those 6 s.
Clients are not sped up, so a Sum covers the shorter time. Only RequestCountPerTarget, a rate (requests per target and minute), is
multiplied by the speed, so that scaling sees the same rate as in AWS.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends

from mclass_tf.local.aws.autoscaling import backend as autoscaling
from mclass_tf.local.aws.cloudwatch.alarm_checks import is_returned
from mclass_tf.local.aws.cloudwatch.alarm_states import (
    ALARM,
    MORE_PERIODS,
    AlarmCondition,
    AlarmState,
    Point,
    decide,
)
from mclass_tf.local.aws.cloudwatch.backend import LocalCloudWatchBackend
from mclass_tf.local.aws.cloudwatch.metric_math import highest
from mclass_tf.local.aws.cloudwatch.metrics import Metric, TimeSeries, dimensions
from mclass_tf.local.live import live

_log = logging.getLogger("mclass_tf.local")

_TICK = 0.25  # seconds
_REPORT_DELAY = 1.5  # seconds after which all data of a second has been reported
_MIN_PERIOD = 1.0  # seconds: metrics have a resolution of one second
_RATES = {"RequestCountPerTarget"}

Window = tuple[float, float]


class Alarms:
    """A part of the runtime. `exclusive` is the API lock."""

    def __init__(self, *, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self._exclusive = exclusive

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            with self._exclusive():
                evaluate_all(now=time.time())


def evaluate_all(*, now: float) -> None:
    """Evaluate every alarm whose period has ended. Call it under the API lock."""
    for backend in _backends():
        due = [alarm for alarm in list(backend.alarms.values()) if _is_due(backend, alarm, now=now)]
        for alarm in due:
            with _reported(alarm):
                _evaluate(backend, alarm, now=now)
        for alarm in due:
            with _reported(alarm):
                _scale(backend, alarm, now=now)
        if due:
            autoscaling.settle(backend.account_id, backend.region_name, now=now)


@contextlib.contextmanager
def _reported(alarm: Any) -> Iterator[None]:
    """Report an error inside, so that an alarm that cannot be evaluated is noticed and does not affect the others."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  any error is reported
        _log.exception("the alarm %s cannot be evaluated", alarm.name)
        problem = f"the alarm {alarm.name} cannot be evaluated: {type(error).__name__}: {error}"
        if problem not in live.problems:
            live.problems.append(problem)


def _backends() -> Iterator[LocalCloudWatchBackend]:
    for regions in list(cloudwatch_backends.values()):
        yield from list(regions.values())


def _scale(backend: LocalCloudWatchBackend, alarm: Any, *, now: float) -> None:
    """Execute the scaling policies of an alarm in ALARM, at the end of every period."""
    if alarm.state_value != ALARM:
        return
    for action in _actions(alarm):
        if autoscaling.is_policy(action):
            autoscaling.act(
                backend.account_id,
                backend.region_name,
                action=action,
                value_of=lambda watched: last_value(backend, watched, now=now),
                now=now,
            )


def period_of(alarm: Any) -> int:
    """Return the alarm's period in simulated seconds."""
    for query in alarm.metric_data_queries:
        if query.metric_stat is not None:
            return int(query.metric_stat.period)
    return int(alarm.period)


def last_value(backend: LocalCloudWatchBackend, alarm: Any, *, now: float) -> float | None:
    """Return the alarm's newest datapoint, or None."""
    known = [point.value for point in points_of(backend, alarm, now=now) if point.value is not None]
    return known[-1] if known else None


def points_of(backend: LocalCloudWatchBackend, alarm: Any, *, now: float) -> list[Point]:
    """Return the datapoints of the last complete periods, oldest first."""
    windows = _windows(alarm, now=now)
    series = _series(backend, alarm, windows)
    return [Point(at=start, value=series.get(index)) for index, (start, _) in enumerate(windows)]


def _is_due(backend: LocalCloudWatchBackend, alarm: Any, *, now: float) -> bool:
    return _windows(alarm, now=now)[-1][1] > backend.evaluated.get(alarm.name, 0.0)


def _windows(alarm: Any, *, now: float) -> list[Window]:
    length = max(_MIN_PERIOD, live.clock.real(period_of(alarm)))
    last = math.floor((now - _REPORT_DELAY) / length)
    count = int(alarm.evaluation_periods) + MORE_PERIODS
    return [(number * length, (number + 1) * length) for number in range(last - count, last)]


def _series(backend: LocalCloudWatchBackend, alarm: Any, windows: Sequence[Window]) -> TimeSeries:
    if not alarm.metric_data_queries:
        metric = _metric(alarm.namespace, alarm.metric_name, alarm.dimensions)
        statistic = alarm.statistic or alarm.extended_statistic
        return _measured(backend, metric, statistic, windows, unit=alarm.unit)
    series_by_id: dict[str, TimeSeries] = {}
    for query in alarm.metric_data_queries:
        if query.metric_stat is not None:
            metric_stat = query.metric_stat
            metric = _metric(
                metric_stat.metric.namespace, metric_stat.metric.metric_name, metric_stat.metric.dimensions
            )
            series = _measured(backend, metric, metric_stat.stat, windows, unit=metric_stat.unit)
            series_by_id[query.id] = _arrived(metric, series, windows)
    watched = next(filter(is_returned, alarm.metric_data_queries))
    if watched.expression:
        return highest(watched.expression, series_by_id, periods=len(windows))
    return series_by_id[watched.id]


def _arrived(metric: Metric, series: TimeSeries, windows: Sequence[Window]) -> TimeSeries:
    """Return the values without the newest, if the metric is a load balancer's: it comes with a delay, and FILL takes its place.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html (FILL in an alarm)
    """
    if metric.namespace != "AWS/ApplicationELB":
        return series
    return {index: value for index, value in series.items() if index < len(windows) - 1}


def _metric(namespace: str, name: str, entries: Sequence[Any]) -> Metric:
    return Metric(
        namespace=namespace, name=name, dimensions=dimensions({entry.name: entry.value for entry in entries})
    )


def _measured(
    backend: LocalCloudWatchBackend,
    metric: Metric,
    statistic: str,
    windows: Sequence[Window],
    *,
    unit: str | None,
) -> TimeSeries:
    series = backend.statistics(metric, statistic, windows=windows, unit=unit)
    if metric.name in _RATES and statistic == "Sum":
        return {index: value * live.clock.speed for index, value in series.items()}
    return series


def _evaluate(backend: LocalCloudWatchBackend, alarm: Any, *, now: float) -> None:
    backend.evaluated[alarm.name] = _windows(alarm, now=now)[-1][1]
    points = points_of(backend, alarm, now=now)
    condition = AlarmCondition(
        comparison=alarm.comparison_operator,
        threshold=float(alarm.threshold),
        periods=int(alarm.evaluation_periods),
        datapoints=int(alarm.datapoints_to_alarm or alarm.evaluation_periods),
        missing=alarm.treat_missing_data or "missing",
    )
    state = decide(condition, points)
    if state is not None and state.value != alarm.state_value:
        _change(backend, alarm, state)


def _change(backend: LocalCloudWatchBackend, alarm: Any, state: AlarmState) -> None:
    before = alarm.state_value
    alarm.update_state(state.reason, json.dumps(_reason_data(alarm, state)), state.value)
    alarm.state_transitioned_timestamp = alarm.state_updated_timestamp
    backend.note_state(alarm.name, before=before, after=state.value, reason=state.reason)
    for action in _actions(alarm):
        if not autoscaling.is_policy(action):
            backend.note(
                alarm.name,
                kind="Action",
                summary=f"Did not execute action {action}: the local AWS executes the actions of scaling policies alone",
                data={"actionState": "Failed", "notificationResource": action},
            )
    live.changed("alarms")


def _actions(alarm: Any) -> Sequence[str]:
    if not alarm.actions_enabled:
        return ()
    by_state = {"OK": alarm.ok_actions, ALARM: alarm.alarm_actions}
    return by_state.get(alarm.state_value, alarm.insufficient_data_actions) or ()


def _reason_data(alarm: Any, state: AlarmState) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html"""
    points = state.evaluated
    return {
        "version": "1.0",
        "queryDate": _text(time.time()),
        **({"startDate": _text(points[-1].at)} if points else {}),
        **({"statistic": alarm.statistic} if alarm.statistic else {}),
        "period": period_of(alarm),
        "recentDatapoints": [point.value for point in reversed(points)],
        "threshold": float(alarm.threshold),
        "evaluatedDatapoints": [{"timestamp": _text(point.at), "value": point.value} for point in points],
    }


def _text(at: float) -> str:
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}+0000"

"""CloudWatch: metrics and alarms."""

from __future__ import annotations

import datetime as dt
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from moto.cloudwatch.exceptions import InvalidParameterValue
from moto.cloudwatch.models import CloudWatchBackend, MetricDatumBase
from moto.core.utils import get_service_model

from mclass_tf.local.aws.cloudwatch.alarm_checks import check_alarm
from mclass_tf.local.aws.cloudwatch.metrics import Metric, Metrics, Stats, TimeSeries, dimensions

_INITIAL_REASON = "Unchecked: Initial alarm creation"
_MAX_HISTORY = 1000


@dataclass(frozen=True, kw_only=True)
class HistoryItem:
    """An entry of DescribeAlarmHistory.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_AlarmHistoryItem.html
    """

    alarm: str
    at: float
    kind: str
    summary: str
    data: Mapping[str, Any]


class LocalCloudWatchBackend(CloudWatchBackend):  # type: ignore[misc]  # moto is not typed for us
    """Stores metrics in `Metrics`: moto keeps every value forever and has no percentiles."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.metrics = Metrics()
        self.history: deque[HistoryItem] = deque(maxlen=_MAX_HISTORY)
        self.evaluated: dict[str, float] = {}  # the end of the last evaluated period, by the alarm's name

    # ---- alarms

    def put_metric_alarm(self, **alarm: Any) -> Any:
        """A new alarm starts in INSUFFICIENT_DATA, and an updated one keeps its state. moto sets both to OK.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
        """
        check_alarm(alarm)
        before = self.alarms.get(alarm["name"])
        created = super().put_metric_alarm(**alarm)
        created.state_value = "INSUFFICIENT_DATA" if before is None else before.state_value
        created.state_reason = _INITIAL_REASON if before is None else before.state_reason
        created.state_transitioned_timestamp = created.state_updated_timestamp
        verb = "created" if before is None else "updated"
        self.note(
            created.name,
            kind="ConfigurationUpdate",
            summary=f'Alarm "{created.name}" {verb}',
            data={"type": verb},
        )
        self.evaluated.pop(created.name, None)
        return created

    def delete_alarms(self, alarm_names: list[str]) -> None:
        for name in alarm_names:
            if name in self.alarms:
                self.note(name, kind="ConfigurationUpdate", summary=f'Alarm "{name}" deleted', data={})
            self.evaluated.pop(name, None)
        super().delete_alarms(alarm_names)

    def set_alarm_state(self, alarm_name: str, reason: str, reason_data: str, state_value: str) -> None:
        """Set the state until the next evaluation, as CloudWatch does."""
        before = self.alarms[alarm_name].state_value if alarm_name in self.alarms else ""
        super().set_alarm_state(alarm_name, reason, reason_data, state_value)
        self.alarms[alarm_name].state_transitioned_timestamp = self.alarms[alarm_name].state_updated_timestamp
        self.note_state(alarm_name, before=before, after=state_value, reason=reason)

    def note_state(self, name: str, *, before: str, after: str, reason: str) -> None:
        if before != after:
            data = {
                "oldState": {"stateValue": before},
                "newState": {"stateValue": after, "stateReason": reason},
            }
            self.note(name, kind="StateUpdate", summary=f"Alarm updated from {before} to {after}", data=data)

    def note(self, name: str, *, kind: str, summary: str, data: Mapping[str, Any]) -> None:
        self.history.append(HistoryItem(alarm=name, at=time.time(), kind=kind, summary=summary, data=data))

    # ---- metrics

    def put_metric_data(self, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html"""
        for position, datum in enumerate(metric_data):
            self._validate_parameters_put_metric_data(datum, position + 1)
            _check_unit(datum.get("Unit"), position=position + 1)
        for datum in metric_data:
            metric = metric_of(namespace, datum["MetricName"], datum.get("Dimensions"))
            at = epoch(datum["Timestamp"]) if datum.get("Timestamp") else time.time()
            self.metrics.add(metric, at=at, stats=_stats(datum), unit=datum.get("Unit"))

    def get_all_metrics(self) -> list[Any]:
        """Return one datum for each metric, which moto's ListMetrics filters."""
        return [
            MetricDatumBase(
                metric.namespace,
                metric.name,
                [{"Name": name, "Value": value} for name, value in metric.dimensions],
                timestamp=None,
            )
            for metric in self.metrics.all()
        ]

    def statistics(
        self,
        metric: Metric,
        statistic: str,
        *,
        windows: Sequence[tuple[float, float]],
        unit: str | None = None,
    ) -> TimeSeries:
        """Return the statistic of each window that has data."""
        found = self.metrics.find(metric, unit=unit)
        values: TimeSeries = {}
        for index, (start, end) in enumerate(windows):
            stats = Stats()
            for series in found:
                stats.merge(series.window(start, end))
            value = stats.value(statistic)
            if value is not None:
                values[index] = value
        return values


def metric_of(namespace: str, name: str, entries: Sequence[Mapping[str, str]] | None) -> Metric:
    return Metric(
        namespace=namespace,
        name=name,
        dimensions=dimensions({entry["Name"]: entry["Value"] for entry in entries or []}),
    )


@cache
def _units() -> tuple[str, ...]:
    return tuple(get_service_model("cloudwatch").shape_for("StandardUnit").enum)


def _check_unit(unit: str | None, *, position: int) -> None:
    if unit is not None and unit not in _units():
        name = f"MetricData.member.{position}.Unit"
        raise InvalidParameterValue(
            f"The parameter {name} must be a value in the set [ {', '.join(_units())} ]."
        )


def _stats(datum: Mapping[str, Any]) -> Stats:
    stats = Stats()
    if datum.get("Values"):
        counts = datum.get("Counts") or [1] * len(datum["Values"])
        for value, times in zip(datum["Values"], counts, strict=True):
            stats.add(float(value), times=float(times))
    elif datum.get("StatisticValues"):
        statistics = {name: float(value) for name, value in datum["StatisticValues"].items()}
        stats = Stats(
            count=statistics["SampleCount"],
            total=statistics["Sum"],
            low=statistics["Minimum"],
            high=statistics["Maximum"],
            classes=None,
        )
    else:
        stats.add(float(datum.get("Value", 0)))
    return stats


def epoch(moment: dt.datetime) -> float:
    """Return the seconds since the epoch. A time without a time zone is in UTC, as in moto."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()

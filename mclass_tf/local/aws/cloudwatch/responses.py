"""CloudWatch's responses about metrics, alarms and their history, which moto lacks or models only in part."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moto.cloudwatch import urls
from moto.cloudwatch.exceptions import InvalidParameterCombination, InvalidParameterValue, ValidationError
from moto.cloudwatch.models import cloudwatch_backends
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult
from moto.core.utils import get_service_model

from mclass_tf.local.aws import pages
from mclass_tf.local.aws.cloudwatch.alarm_checks import check_period, check_statistic
from mclass_tf.local.aws.cloudwatch.backend import HistoryItem, LocalCloudWatchBackend, epoch, metric_of
from mclass_tf.local.aws.cloudwatch.metrics import MINUTE, Stats
from mclass_tf.local.aws.extend import announce, use_backend, use_responses

_MAX_POINTS = 1440


class LocalCloudWatchResponses(CloudWatchResponse):  # type: ignore[misc]
    def get_metric_statistics(self) -> ActionResult:
        """Return statistics, for the AWS CLI, with percentiles, which moto lacks.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html
        """
        simple, extended = self._get_param("Statistics", []), self._get_param("ExtendedStatistics", [])
        if not simple and not extended:
            raise InvalidParameterCombination("Must specify either Statistics or ExtendedStatistics")
        for statistic in (*simple, *extended):
            check_statistic(statistic)
        name = self._get_param("MetricName")
        metric = metric_of(self._get_param("Namespace"), name, self._get_param("Dimensions", []))
        windows = self._windows(int(self._get_param("Period")))
        if len(windows) > _MAX_POINTS:
            raise InvalidParameterCombination(
                f"You have requested up to {len(windows):,} datapoints, which exceeds the limit of {_MAX_POINTS:,}. "
                "You may reduce the datapoints requested by increasing Period, or decreasing the time range."
            )
        points = []
        for series in self.cloudwatch_backend.metrics.find(metric, unit=self._get_param("Unit")):
            for start, end in windows:
                stats = series.window(start, end)
                if stats.count:
                    points.append(_datapoint(stats, start, simple, extended, unit=series.unit))
        return ActionResult({"Label": name, "Datapoints": points})

    def get_metric_data(self) -> ActionResult:
        """Return metrics without expressions, for the analysis of releases, which does its own calculations.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
        """
        queries = self._get_param("MetricDataQueries", [])
        for number, query in enumerate(queries, start=1):
            if "MetricStat" not in query and "Expression" not in query:
                raise ValidationError(
                    f"The parameter MetricDataQueries.member.{number}.MetricStat is required.\n"
                )
        if self._starts_after_end():
            raise ValidationError(self._wrong_times())
        if not all("MetricStat" in query for query in queries):
            raise ValidationError("The local AWS models expressions in alarms alone: MetricStat is required.")
        is_descending = (self._get_param("ScanBy") or "TimestampDescending") == "TimestampDescending"
        results = [
            self._result(query, is_descending=is_descending)
            for query in queries
            if str(query.get("ReturnData", True)).lower() == "true"
        ]
        return ActionResult({"MetricDataResults": results, "Messages": []})

    def describe_alarms(self) -> ActionResult:
        """Apply all filters together, with paging, as releases and the AWS CLI need. moto applies only one filter.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
        """
        names, prefix = self._get_param("AlarmNames", []), self._get_param("AlarmNamePrefix", "")
        state, action = self._get_param("StateValue"), self._get_param("ActionPrefix", "")
        alarms = [
            alarm
            for alarm in self.cloudwatch_backend.describe_alarms()
            if (not names or alarm.name in names)
            and alarm.name.startswith(prefix)
            and state in (None, alarm.state_value)
            and (not action or any(one.startswith(action) for one in alarm.alarm_actions or []))
        ]
        page, following = pages.cut(
            alarms, token=self._get_param("NextToken"), asked=self._get_int_param("MaxRecords")
        )
        token = {"NextToken": following} if following else {}
        return ActionResult({"MetricAlarms": page, "CompositeAlarms": [], **token})

    def describe_alarm_history(self) -> ActionResult:
        """Return the history, for the AWS CLI: it explains why an alarm rolled a release back or scaled a service.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
        """
        name, kind = self._get_param("AlarmName"), self._get_param("HistoryItemType")
        start, end = self._get_param("StartDate"), self._get_param("EndDate")
        items = [
            item
            for item in self.cloudwatch_backend.history
            if name in (None, item.alarm)
            and kind in (None, item.kind)
            and (start is None or item.at >= epoch(start))
            and (end is None or item.at < epoch(end))
        ]
        if self._get_param("ScanBy") != "TimestampAscending":
            items.reverse()
        return ActionResult(
            {
                "AlarmHistoryItems": [
                    _history(item) for item in items[: self._get_int_param("MaxRecords") or 100]
                ]
            }
        )

    def _windows(self, period: int) -> list[tuple[float, float]]:
        """Return the periods of the request, starting at a whole minute."""
        check_period(period)
        if self._starts_after_end():
            raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
        start, end = epoch(self._get_param("StartTime")), epoch(self._get_param("EndTime"))
        return list(_cut(start - start % min(period, MINUTE), end, period))

    def _wrong_times(self) -> str:
        if math.floor(epoch(self._get_param("StartTime"))) == math.floor(epoch(self._get_param("EndTime"))):
            return "The parameter StartTime must not equal parameter EndTime."
        return "The parameter EndTime must be greater than StartTime."

    def _starts_after_end(self) -> bool:
        """Compare whole seconds, which CloudWatch rounds to."""
        start, end = self._get_param("StartTime"), self._get_param("EndTime")
        return math.floor(epoch(start)) >= math.floor(epoch(end))

    def _result(self, query: Mapping[str, Any], *, is_descending: bool) -> dict[str, Any]:
        metric_stat = query["MetricStat"]
        check_statistic(metric_stat["Stat"])
        windows = self._windows(int(metric_stat["Period"]))
        named = metric_stat["Metric"]
        metric = metric_of(named["Namespace"], named["MetricName"], named.get("Dimensions"))
        series = self.cloudwatch_backend.statistics(
            metric, metric_stat["Stat"], windows=windows, unit=metric_stat.get("Unit")
        )
        periods = sorted(series, reverse=is_descending)
        return {
            "Id": query["Id"],
            "Label": query.get("Label") or named["MetricName"],
            "Timestamps": [_time(windows[period][0]) for period in periods],
            "Values": [series[period] for period in periods],
            "StatusCode": "Complete",
        }


def _cut(start: float, end: float, period: float) -> Iterator[tuple[float, float]]:
    for number in range(max(0, math.ceil((end - start) / period))):
        yield start + number * period, start + (number + 1) * period


def _datapoint(
    stats: Stats, start: float, simple: Sequence[str], extended: Sequence[str], *, unit: str
) -> dict[str, Any]:
    percentiles = {name: stats.value(name) for name in extended}
    return {
        "Timestamp": _time(start),
        **{name: stats.value(name) for name in simple},
        **({"ExtendedStatistics": percentiles} if extended else {}),
        "Unit": unit,
    }


def _history(item: HistoryItem) -> dict[str, Any]:
    return {
        "AlarmName": item.alarm,
        "AlarmType": "MetricAlarm",
        "Timestamp": _time(item.at),
        "HistoryItemType": item.kind,
        "HistorySummary": item.summary,
        "HistoryData": json.dumps({"version": "1.0", **item.data}),
    }


def _time(at: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, dt.UTC)


def install() -> None:
    """Install CloudWatch with the JSON protocol, which newer clients such as the AWS CLI use instead of the query protocol.

    moto reads a service's protocols from botocore's model, and older versions of botocore contain only the query protocol.
    """
    use_backend(backends=cloudwatch_backends, urls=urls, backend=LocalCloudWatchBackend)
    use_responses(urls=urls, responses=LocalCloudWatchResponses)
    announce(backend=LocalCloudWatchBackend, methods=("set_alarm_state",), topic="alarms")
    metadata = get_service_model("cloudwatch").metadata
    metadata["protocols"] = sorted({*metadata.get("protocols", []), "json", "query"})
    metadata.setdefault("jsonVersion", "1.0")
    # moto then writes the error codes of the query protocol into a header, where clients of the JSON protocol look for them.
    # https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait
    metadata.setdefault("awsQueryCompatible", {})
    metadata.setdefault("targetPrefix", "GraniteServiceVersion20100801")

"""CloudWatch's metrics through its API."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local import in_process

_START = dt.datetime(2025, 11, 14, 22, 10, tzinfo=dt.UTC)
_DIMENSIONS = [{"Name": "Service", "Value": "web"}]


@pytest.fixture
def cloudwatch() -> Any:
    return in_process.client(in_process.new_account(), "cloudwatch")


def _put(
    cloudwatch: Any, values: Sequence[float], *, second: int = 0, name: str = "Latency", **more: Any
) -> None:
    datum = {
        "MetricName": name,
        "Dimensions": _DIMENSIONS,
        "Timestamp": _START + dt.timedelta(seconds=second),
        "Values": list(values),
        "Unit": "Seconds",
        **more,
    }
    cloudwatch.put_metric_data(Namespace="App", MetricData=[datum])


def _statistics(cloudwatch: Any, *, minutes: int = 5, **more: Any) -> list[dict[str, Any]]:
    request = {
        "Namespace": "App",
        "MetricName": "Latency",
        "Dimensions": _DIMENSIONS,
        "StartTime": _START,
        "EndTime": _START + dt.timedelta(minutes=minutes),
        "Period": 60,
        **more,
    }
    return list(cloudwatch.get_metric_statistics(**request)["Datapoints"])


def test_statistics_and_percentiles_are_returned_together_for_each_period(cloudwatch: Any) -> None:
    _put(cloudwatch, [number / 100 for number in range(1, 101)], second=10)
    _put(cloudwatch, [7.0], second=130)
    first, second = (
        _statistics(cloudwatch, Statistics=["SampleCount", "Maximum"]),
        _statistics(cloudwatch, ExtendedStatistics=["p50", "p99"]),
    )
    assert [
        (point["Timestamp"], point["SampleCount"], point["Maximum"], point["Unit"]) for point in first
    ] == [
        (_START, 100, 1.0, "Seconds"),
        (_START + dt.timedelta(minutes=2), 1, 7.0, "Seconds"),
    ]
    assert second[0]["ExtendedStatistics"] == pytest.approx({"p50": 0.5, "p99": 0.99}, rel=0.011)


def test_each_value_of_a_dimension_is_a_separate_metric(cloudwatch: Any) -> None:
    _put(cloudwatch, [1.0])
    assert _statistics(cloudwatch, Statistics=["Sum"], Dimensions=[]) == []
    other = [{"Name": "Service", "Value": "api"}]
    assert _statistics(cloudwatch, Statistics=["Sum"], Dimensions=other) == []
    assert len(_statistics(cloudwatch, Statistics=["Sum"])) == 1


def test_a_start_within_a_minute_is_rounded_down(cloudwatch: Any) -> None:
    _put(cloudwatch, [1.0], second=5)
    late = _START + dt.timedelta(seconds=34)
    assert [point["Timestamp"] for point in _statistics(cloudwatch, Statistics=["Sum"], StartTime=late)] == [
        _START
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Period": 45, "Statistics": ["Sum"]}, "Period must be"),
        ({}, "Must specify either Statistics or ExtendedStatistics"),
        ({"ExtendedStatistics": ["tm90"]}, "tm90"),
        ({"Statistics": ["Sum"], "EndTime": _START}, "must be less than"),
        ({"Statistics": ["Sum"], "Period": 1, "minutes": 60}, "exceeds the limit of 1,440"),
    ],
)
def test_invalid_parameters_are_refused(cloudwatch: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        _statistics(cloudwatch, **changes)


def _query(name: str, *, ident: str, stat: str = "Sum", returned: bool = True) -> dict[str, Any]:
    metric = {"Namespace": "App", "MetricName": name, "Dimensions": _DIMENSIONS}
    return {
        "Id": ident,
        "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat},
        "ReturnData": returned,
    }


def _data(cloudwatch: Any, *queries: dict[str, Any], **more: Any) -> dict[str, list[float]]:
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=list(queries),
        StartTime=_START,
        EndTime=_START + dt.timedelta(minutes=3),
        ScanBy="TimestampAscending",
        **more,
    )
    return {entry["Id"]: entry["Values"] for entry in answer["MetricDataResults"]}


def test_only_queries_that_return_data_are_answered(cloudwatch: Any) -> None:
    _put(cloudwatch, [1.0, 1.0], name="Errors", second=70)
    _put(cloudwatch, [1.0] * 8, name="Requests", second=10)
    _put(cloudwatch, [1.0] * 4, name="Requests", second=70)
    data = _data(
        cloudwatch,
        _query("Errors", ident="errors", returned=False),
        _query("Requests", ident="requests"),
    )
    assert data == {"requests": [8.0, 4.0]}


def test_get_metric_data_returns_percentiles(cloudwatch: Any) -> None:
    _put(cloudwatch, [0.5])
    assert _data(cloudwatch, _query("Latency", ident="slow", stat="p99")) == {"slow": [0.5]}


def test_an_expression_outside_an_alarm_is_refused(cloudwatch: Any) -> None:
    with pytest.raises(ClientError, match=r"ValidationError.*expressions in alarms alone"):
        _data(cloudwatch, {"Id": "e", "Expression": "nothing + 1"})


def test_metrics_are_listed_once_each(cloudwatch: Any) -> None:
    _put(cloudwatch, [1.0], second=0)
    _put(cloudwatch, [1.0], second=1)
    _put(cloudwatch, [1.0], name="Errors")
    found = cloudwatch.list_metrics(Namespace="App", Dimensions=[{"Name": "Service"}])["Metrics"]
    assert sorted(entry["MetricName"] for entry in found) == ["Errors", "Latency"]
    assert found[0]["Dimensions"] == _DIMENSIONS
    assert cloudwatch.list_metrics(Namespace="Other")["Metrics"] == []


def test_statistic_values_are_stored(cloudwatch: Any) -> None:
    aggregates = {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}
    cloudwatch.put_metric_data(
        Namespace="App",
        MetricData=[
            {
                "MetricName": "Latency",
                "Dimensions": _DIMENSIONS,
                "Timestamp": _START,
                "StatisticValues": aggregates,
            }
        ],
    )
    found = _statistics(cloudwatch, Statistics=["Average", "Maximum"])[0]
    assert (found["Average"], found["Maximum"]) == (2.5, 4)


def test_values_of_different_units_are_kept_apart(cloudwatch: Any) -> None:
    _put(cloudwatch, [1.0, 3.0], Unit="Seconds")
    _put(cloudwatch, [5.0], Unit="Count")
    points = {point["Unit"]: point["Sum"] for point in _statistics(cloudwatch, Statistics=["Sum"])}
    assert points == {"Seconds": 4.0, "Count": 5.0}
    assert [point["Sum"] for point in _statistics(cloudwatch, Statistics=["Sum"], Unit="Seconds")] == [4.0]
    query = _query("Latency", ident="all")
    seconds = {**query, "Id": "seconds", "MetricStat": {**query["MetricStat"], "Unit": "Seconds"}}
    assert _data(cloudwatch, query, seconds) == {"all": [9.0], "seconds": [4.0]}


def test_an_unknown_unit_is_refused(cloudwatch: Any) -> None:
    with pytest.raises(ClientError, match=r"MetricData.member.1.Unit must be a value in the set"):
        _put(cloudwatch, [1.0], Unit="Parsecs")


def test_times_within_one_second_are_refused_as_equal(cloudwatch: Any) -> None:
    times: dict[str, Any] = {"StartTime": _START, "EndTime": _START + dt.timedelta(milliseconds=999)}
    with pytest.raises(ClientError, match=r"InvalidParameterValue.*StartTime must be less than"):
        _statistics(cloudwatch, Statistics=["Sum"], **times)
    with pytest.raises(ClientError, match=r"ValidationError.*StartTime must not equal parameter EndTime"):
        cloudwatch.get_metric_data(MetricDataQueries=[_query("Latency", ident="m")], **times)


_JSON_TARGET = "GraniteServiceVersion20100801"


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        (
            "PutMetricData",
            {"Namespace": "A", "MetricData": [{"MetricName": "m", "Unit": "?"}]},
            "InvalidParameterValue",
        ),
        ("PutMetricData", {"Namespace": 1}, "SerializationException"),
        ("PutDashboard", {"DashboardName": "d", "DashboardBody": "{"}, "InvalidParameterInput"),
        ("UnknownOperation", {}, "UnsupportedOperation"),
    ],
)
def test_errors_in_json_name_the_code_of_the_query_protocol_in_a_header(
    operation: str, request_: dict[str, Any], code: str
) -> None:
    """SDKs that left the query protocol look for its codes there."""
    reply = in_process.send(
        in_process.new_account(), "monitoring", f"{_JSON_TARGET}.{operation}", json.dumps(request_).encode()
    )
    assert reply.status == 400
    assert f"{code};Sender" == dict(reply.headers).get("x-amzn-query-error")

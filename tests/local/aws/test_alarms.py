"""Alarms are evaluated at the end of their periods, on the simulated clock."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.cloudwatch.models import cloudwatch_backends

from mclass_tf.local.aws import alarms
from mclass_tf.local.aws.cloudwatch.metrics import Metric, Stats
from mclass_tf.local.live import live
from tests.local import in_process

_MINUTE = 60 * (
    int(time.time()) // 60
)  # the current minute, because other alarms of this process are evaluated too
_REPORT_DELAY = 2.0  # seconds after which all data has been reported


@dataclass(kw_only=True)
class World:
    """An account with metrics; minutes are counted from `_MINUTE`."""

    account_id: str

    @property
    def client(self) -> Any:
        return in_process.client(self.account_id, "cloudwatch")

    @property
    def backend(self) -> Any:
        return cloudwatch_backends[self.account_id][in_process.REGION]

    def measure(self, value: float, *, minute: float, name: str = "Errors", namespace: str = "App") -> None:
        stats = Stats()
        stats.add(value)
        self.backend.metrics.add(
            Metric(namespace=namespace, name=name), at=_MINUTE + 60 * minute, stats=stats
        )

    def put(self, **changes: Any) -> None:
        request = {
            "AlarmName": "errors",
            "Namespace": "App",
            "MetricName": "Errors",
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 5.0,
            "ComparisonOperator": "GreaterThanThreshold",
            **changes,
        }
        self.client.put_metric_alarm(**{name: value for name, value in request.items() if value is not None})

    def evaluate(self, *, minute: float) -> dict[str, Any]:
        with in_process.aws().exclusive():
            alarms.evaluate_all(now=_MINUTE + 60 * minute + _REPORT_DELAY)
        return self.alarm()

    def alarm(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.describe_alarms(AlarmNames=["errors"])["MetricAlarms"][0]
        return found

    def history(self, kind: str) -> list[str]:
        found = self.client.describe_alarm_history(
            AlarmName="errors", HistoryItemType=kind, ScanBy="TimestampAscending"
        )
        return [entry["HistorySummary"] for entry in found["AlarmHistoryItems"]]


@pytest.fixture
def world() -> World:
    in_process.aws()
    return World(account_id=in_process.new_account())


@pytest.fixture
def fast() -> Iterator[None]:
    """The clock ten times as fast."""
    live.clock.speed = 10.0
    yield
    live.clock.speed = 1.0


def test_an_alarm_follows_its_metric_and_states_the_reason(world: World) -> None:
    world.put()
    assert world.alarm()["StateValue"] == "INSUFFICIENT_DATA"
    world.measure(9, minute=0.5)
    found = world.evaluate(minute=1)
    assert found["StateValue"] == "ALARM"
    assert found["StateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [9.0 (")
    assert json.loads(found["StateReasonData"])["recentDatapoints"] == [9.0]
    world.measure(1, minute=1.5)
    assert world.evaluate(minute=2)["StateValue"] == "OK"
    assert world.history("StateUpdate") == [
        "Alarm updated from INSUFFICIENT_DATA to ALARM",
        "Alarm updated from ALARM to OK",
    ]


def test_a_period_counts_when_it_has_ended_and_its_data_is_reported(world: World) -> None:
    world.put()
    world.measure(9, minute=0.5)
    with in_process.aws().exclusive():
        alarms.evaluate_all(now=_MINUTE + 60 + 1)
    assert world.alarm()["StateValue"] == "INSUFFICIENT_DATA"
    assert world.evaluate(minute=1)["StateValue"] == "ALARM"


def test_datapoints_to_alarm_must_breach(world: World) -> None:
    world.put(EvaluationPeriods=3, DatapointsToAlarm=2)
    states = []
    for minute, value in enumerate([9, 1, 1, 9, 1, 9]):
        world.measure(value, minute=minute)
        states.append(world.evaluate(minute=minute + 1)["StateValue"])
    assert states[2:] == ["OK", "OK", "OK", "ALARM"]


def test_an_alarm_can_watch_percentiles_and_metric_math(world: World) -> None:
    world.put(Statistic=None, ExtendedStatistic="p90", Threshold=0.5)
    for value in (0.1, 0.2, 0.9):
        world.measure(value, minute=0.5)
    assert world.evaluate(minute=1)["StateValue"] == "ALARM"
    metrics = [
        {
            "Id": ident,
            "MetricStat": {
                "Metric": {"Namespace": "App", "MetricName": name},
                "Period": 60,
                "Stat": "Sum",
            },
            "ReturnData": False,
        }
        for ident, name in (("errors", "Errors"), ("requests", "Requests"))
    ]
    expression = {"Id": "most", "Expression": "MAX([FILL(errors, 0), FILL(requests, 0)])", "ReturnData": True}
    simple = dict.fromkeys(["Namespace", "MetricName", "Statistic", "Period"])
    world.put(**simple, Metrics=[*metrics, expression], Threshold=10.0)
    world.measure(2, minute=1.5)
    world.measure(9, minute=1.5, name="Requests")
    assert world.evaluate(minute=2)["StateValue"] == "OK"
    world.measure(20, minute=2.5)
    assert world.evaluate(minute=3)["StateValue"] == "ALARM"


@pytest.mark.usefixtures("fast")
def test_at_speed_10_a_minute_ends_after_six_seconds(world: World) -> None:
    world.put()
    world.measure(9, minute=0.05)  # 3 s
    assert world.evaluate(minute=0.1)["StateValue"] == "ALARM"
    world.measure(1, minute=0.15)
    assert world.evaluate(minute=0.2)["StateValue"] == "OK"


@pytest.mark.usefixtures("fast")
def test_a_rate_has_the_same_value_as_in_aws(world: World) -> None:
    world.put(MetricName="RequestCountPerTarget", Threshold=85.0)
    world.measure(9, minute=0.05, name="RequestCountPerTarget")
    assert "[90.0 (" in world.evaluate(minute=0.1)["StateReason"]


def test_an_updated_alarm_keeps_its_state_until_it_is_evaluated_again(world: World) -> None:
    world.put()
    world.measure(9, minute=0.5)
    world.evaluate(minute=1)
    world.put(Threshold=20.0)
    assert world.alarm()["StateValue"] == "ALARM"
    assert world.evaluate(minute=1.1)["StateValue"] == "OK"
    assert world.history("ConfigurationUpdate") == ['Alarm "errors" created', 'Alarm "errors" updated']


def test_set_alarm_state_holds_until_the_next_evaluation(world: World) -> None:
    topics: list[str] = []
    unlisten = live.listen(topics.append)
    world.put(TreatMissingData="notBreaching")
    world.evaluate(minute=1)
    world.client.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")
    assert world.evaluate(minute=1.5)["StateValue"] == "ALARM"
    found = world.evaluate(minute=2)
    unlisten()
    assert found["StateValue"] == "OK"
    assert "no datapoints were received for 1 period" in found["StateReason"]
    assert topics.count("alarms") >= 3


def test_actions_that_are_not_executed_are_reported(world: World) -> None:
    topic = f"arn:aws:sns:{in_process.REGION}:{world.account_id}:alerts"
    world.put(AlarmActions=[topic])
    world.measure(9, minute=0.5)
    world.evaluate(minute=1)
    assert world.history("Action") == [
        f"Did not execute action {topic}: the local AWS executes the actions of scaling policies alone"
    ]


def test_filters_of_describe_alarms_apply_together(world: World) -> None:
    for name, threshold in (("web-high", 5.0), ("web-low", 50.0), ("other-high", 5.0)):
        world.put(AlarmName=name, Threshold=threshold)
    world.put()
    world.measure(9, minute=0.5)
    world.evaluate(minute=1)

    def names(**filters: Any) -> list[str]:
        pages = world.client.get_paginator("describe_alarms").paginate(
            **filters, PaginationConfig={"PageSize": 1}
        )
        return [alarm["AlarmName"] for page in pages for alarm in page["MetricAlarms"]]

    assert names(AlarmNamePrefix="web-") == ["web-high", "web-low"]
    assert names(AlarmNamePrefix="web-", StateValue="ALARM") == ["web-high"]
    assert names(AlarmNames=["web-low", "errors"], StateValue="OK") == ["web-low"]


def test_an_alarm_that_fails_does_not_affect_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(AlarmName="broken")
    world.put()
    world.measure(9, minute=0.5)
    monkeypatch.setattr(world.backend.alarms["broken"], "threshold", "much")
    assert world.evaluate(minute=1)["StateValue"] == "ALARM"
    monkeypatch.undo()
    assert any("the alarm broken cannot be evaluated: ValueError" in problem for problem in live.problems)


@pytest.mark.parametrize(
    "changes",
    [
        {"ComparisonOperator": "GreaterThanUpperThreshold"},
        {"Period": 45},
        {"TreatMissingData": "maybe"},
        {"DatapointsToAlarm": 2},
        {"Statistic": None},
        {"Statistic": None, "ExtendedStatistic": "tm90"},
        {
            "Statistic": None,
            "Namespace": None,
            "MetricName": None,
            "Period": None,
            "Metrics": [{"Id": "e", "Expression": "nothing + 1", "ReturnData": True}],
        },
    ],
)
def test_an_alarm_that_cannot_be_evaluated_is_refused(world: World, changes: dict[str, Any]) -> None:
    with pytest.raises(ClientError):
        world.put(**changes)
    assert world.client.describe_alarms()["MetricAlarms"] == []

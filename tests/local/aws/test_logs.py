"""CloudWatch Logs: the order and the pages of FilterLogEvents."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.local import in_process

_GROUP = "/ecs/mclass-task"
_START = int(time.time() * 1000) - 60_000  # CloudWatch Logs takes nothing that is older than 14 days


@pytest.fixture
def logs() -> Any:
    client = in_process.client(in_process.new_account(), "logs")
    client.create_log_group(logGroupName=_GROUP)
    for number, stream in enumerate(("ecs/app/b", "ecs/app/a")):
        client.create_log_stream(logGroupName=_GROUP, logStreamName=stream)
        events = [
            {"timestamp": _START + 10 * minute + number, "message": f"{stream} {minute}"}
            for minute in range(3)
        ]
        client.put_log_events(logGroupName=_GROUP, logStreamName=stream, logEvents=events)
    return client


@pytest.mark.parametrize("more", [{}, {"interleaved": False}], ids=["by default", "not interleaved"])
def test_events_of_all_streams_come_in_the_order_of_time(logs: Any, more: dict[str, Any]) -> None:
    events = logs.filter_log_events(logGroupName=_GROUP, **more)["events"]
    assert [f"ecs/app/{stream} {minute}" for minute in range(3) for stream in "ba"] == [
        event["message"] for event in events
    ]


def test_events_of_one_moment_come_in_the_order_of_their_arrival(logs: Any) -> None:
    for stream, message in (("ecs/app/a", "first"), ("ecs/app/b", "second"), ("ecs/app/a", "third")):
        event = {"timestamp": _START + 1000, "message": message}
        logs.put_log_events(logGroupName=_GROUP, logStreamName=stream, logEvents=[event])
    events = logs.filter_log_events(logGroupName=_GROUP, startTime=_START + 1000)["events"]
    assert [event["message"] for event in events] == ["first", "second", "third"]


def test_pages_continue_after_their_last_event_although_earlier_ones_arrive_meanwhile(logs: Any) -> None:
    first = logs.filter_log_events(logGroupName=_GROUP, limit=4)
    late = {"timestamp": _START - 1, "message": "late"}
    logs.put_log_events(logGroupName=_GROUP, logStreamName="ecs/app/a", logEvents=[late])
    second = logs.filter_log_events(logGroupName=_GROUP, limit=4, nextToken=first["nextToken"])
    assert [event["message"] for event in second["events"]] == ["ecs/app/b 2", "ecs/app/a 2"]
    assert "nextToken" not in second


def test_an_invalid_token_has_no_events(logs: Any) -> None:
    assert logs.filter_log_events(logGroupName=_GROUP, nextToken="unknown")["events"] == []

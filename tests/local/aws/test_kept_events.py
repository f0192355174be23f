"""Events of CloudWatch Logs are bounded by their bytes, so that a container with long lines does not fill the memory."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.logs.models import logs_backends

from mclass_tf.local.aws import kept_events
from mclass_tf.local.aws.ecs.model.task_logs import LogDestination, TaskLogs, create_stream
from mclass_tf.local.aws.elbv2 import access_logs
from mclass_tf.local.balancer.report import AccessLog, Failure
from mclass_tf.local.traffic import Traffic
from tests.local import in_process
from tests.local.in_process import REGION

MIB = 1024 * 1024


@pytest.fixture
def account() -> str:
    return in_process.new_account()


@pytest.fixture
def place(account: str) -> LogDestination:
    made = LogDestination(account_id=account, region=REGION, group="/ecs/web", stream="web/web/1")
    with in_process.aws().exclusive():
        create_stream(made, create_group=True)
    return made


def kept(place: LogDestination) -> list[str]:
    stream = logs_backends[place.account_id][place.region].groups[place.group].streams[place.stream]
    return [event.message for event in stream.events]


def test_a_stream_keeps_the_newest_events_within_its_bounds(place: LogDestination) -> None:
    """50,000 events of 256 KiB, within a limit by number alone, are 13 GB."""
    logs = TaskLogs(exclusive=in_process.aws().exclusive)
    write = logs.writer(place)

    for batch in range(3):
        for number in range(50):
            write(f"{batch:03}-{number:03}" + "x" * 250_000)
        logs.flush()

    found = kept(place)
    assert sum(len(message) for message in found) <= kept_events.MOST_BYTES
    assert len(found) > 50
    assert found[-1].startswith("002-049")
    assert found == sorted(found)


def test_pending_events_are_bounded(place: LogDestination) -> None:
    logs = TaskLogs(exclusive=in_process.aws().exclusive)
    write = logs.writer(place)

    for number in range(200):
        write(f"{number:03}" + "가" * 80_000)
    (waiting,) = logs._waiting.values()
    size = sum(len(event["message"].encode()) for event in waiting.events)
    logs.flush()

    assert size <= kept_events.MOST_BYTES
    assert kept(place)[-1].startswith("199")


def test_all_streams_together_are_bounded(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_events, "MOST_BYTES_OF_ALL", 4 * MIB)
    monkeypatch.setattr(kept_events, "_sizes", type(kept_events._sizes)())
    logs = TaskLogs(exclusive=in_process.aws().exclusive)
    places = [
        LogDestination(account_id=account, region=REGION, group="/ecs/web", stream=f"web/web/{number}")
        for number in range(10)
    ]
    for place in places:
        with in_process.aws().exclusive():
            create_stream(place, create_group=True)
        write = logs.writer(place)
        for number in range(10):
            write(f"{number}" + "x" * 100_000)
        logs.flush()

    assert sum(len(message) for place in places for message in kept(place)) <= 4 * MIB
    assert all(kept(place)[-1].startswith("9") for place in places)


def test_events_from_the_api_are_bounded_too(place: LogDestination, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_events, "MOST_BYTES", MIB)
    client = in_process.client(place.account_id, "logs")
    now = int(time.time() * 1000)

    for number in range(4):
        event = {"timestamp": now, "message": f"{number}" + "x" * 400_000}
        client.put_log_events(logGroupName=place.group, logStreamName=place.stream, logEvents=[event])

    assert [message[0] for message in kept(place)] == ["2", "3"]


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([{"timestamp": 1, "message": "x"}] * 10_001, "1 to 10000 members"),
        ([{"timestamp": 1, "message": "x" * 600_000}] * 2, "Upload too large"),
    ],
    ids=["too many", "too large"],
)
def test_a_batch_that_cloudwatch_refuses_is_refused(
    place: LogDestination, events: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        in_process.client(place.account_id, "logs").put_log_events(
            logGroupName=place.group, logStreamName=place.stream, logEvents=events
        )


def test_a_large_access_log_is_written_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_logs, "_MAX_BUFFER_BYTES", 10_000)
    monkeypatch.setattr(
        access_logs,
        "_destination",
        lambda _arn: access_logs.LogDestination(
            account_id="1", region=REGION, bucket="b", prefix="", load_balancer="app/x/1"
        ),
    )
    written: list[float] = []
    logs = access_logs.AccessLogs(exclusive=in_process.aws().exclusive)
    monkeypatch.setattr(logs, "write", lambda *, now: written.append(now))

    logs.take(AccessLog(load_balancer_arn="arn", lines=("x" * 4000,)))
    assert written == []
    logs.take(AccessLog(load_balancer_arn="arn", lines=("x" * 6000,)))

    assert len(written) == 1


def test_a_failure_is_stored_with_a_shortened_path() -> None:
    traffic = Traffic()
    failure = Failure(
        at=1.0,
        load_balancer_arn="arn",
        target_group_arn=None,
        target=None,
        target_is_draining=False,
        status=503,
        reason="no_targets",
        method="G" * 60_000,
        path="/" + "x" * 60_000,
        in_flight_seconds=0.0,
    )

    traffic.take_failure(failure)

    (found,) = traffic.failures()
    assert len(found.path) + len(found.method) < 2_000

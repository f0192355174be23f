"""The awslogs driver: what containers write becomes events of CloudWatch Logs.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from moto.logs.models import logs_backends

from mclass_tf.local.aws import kept_events
from mclass_tf.local.aws.ecs.model.task import Task

_log = logging.getLogger("mclass_tf.local")

_BATCH_SECONDS = 1.0  # what clients feel: not scaled
_LONGEST_EVENT = (
    262_144 - 26
)  # bytes; https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html


@dataclass(frozen=True, kw_only=True)
class Destination:
    """The stream of one container."""

    account_id: str
    region: str
    group: str
    stream: str


def destination(
    definition: Mapping[str, Any], *, account_id: str, region: str, task_id: str
) -> Destination | None:
    """Where a container definition's output goes: `prefix/container/task-id`. None without the awslogs driver."""
    configuration = definition.get("logConfiguration") or {}
    if configuration.get("logDriver") != "awslogs":
        return None
    options = configuration.get("options") or {}
    prefix = options.get("awslogs-stream-prefix", "ecs")
    return Destination(
        account_id=account_id,
        region=options.get("awslogs-region", region),
        group=options.get("awslogs-group", ""),
        stream=f"{prefix}/{definition['name']}/{task_id}",
    )


def destinations(task: Task) -> Iterator[tuple[Destination, Mapping[str, str]]]:
    """Every stream of the task's containers, with the options of the driver."""
    launch = task.launch
    for definition in launch.definition.container_definitions:
        place = destination(definition, account_id=launch.account_id, region=launch.region, task_id=task.id)
        if place is not None:
            yield place, definition["logConfiguration"].get("options") or {}


def create_stream(place: Destination, *, create_group: bool) -> None:
    """Make the stream, and the group where the options ask for it. Call it under the lock."""
    backend = logs_backends[place.account_id][place.region]
    if create_group:
        backend.ensure_log_group(place.group)
    backend.ensure_log_stream(place.group, place.stream)


class TaskLogs:
    """Takes lines as they are written and puts them into their streams each second."""

    def __init__(self, *, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self._exclusive = exclusive
        self._waiting: dict[Destination, kept_events.PendingEvents] = {}
        self._lost: set[Destination] = set()

    def writer(self, place: Destination) -> Callable[[str], None]:
        """What takes the lines of one container."""

        def write(line: str) -> None:
            waiting = self._waiting.setdefault(place, kept_events.PendingEvents())
            now = int(time.time() * 1000)
            waiting.extend({"timestamp": now, "message": piece} for piece in _pieces(line))

        return write

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_BATCH_SECONDS)
            self.flush()

    def flush(self) -> None:
        """Put what waits into the streams."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        with self._exclusive():
            for place, last in waiting.items():
                self._put(place, last.events)

    def _put(self, place: Destination, events: list[dict[str, Any]]) -> None:
        """A group or stream that was deleted loses the events, as awslogs loses them: the container goes on."""
        group = logs_backends[place.account_id][place.region].groups.get(place.group)
        stream = None if group is None else group.streams.get(place.stream)
        if stream is None:
            if place not in self._lost:
                self._lost.add(place)
                _log.warning("log stream %s of %s is gone: its events are lost", place.stream, place.group)
            return
        stream.put_log_events(events)
        kept_events.bound(stream, added=len(events))


def _pieces(line: str) -> list[str]:
    """The line in events no longer than CloudWatch takes, no character torn apart; an empty line is none, as in Docker's driver."""
    data = line.encode(errors="replace")
    pieces = []
    while data:
        end = min(len(data), _LONGEST_EVENT)
        while end < len(data) and data[end] & 0xC0 == 0x80:  # noqa: PLR2004  within a character of UTF-8
            end -= 1
        pieces.append(data[:end].decode())
        data = data[end:]
    return pieces

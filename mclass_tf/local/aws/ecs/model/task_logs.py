"""The awslogs driver: turns container output into events of CloudWatch Logs.

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

_BATCH_SECONDS = 1.0  # real, not scaled
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
_LONGEST_EVENT = 262_144 - 26  # bytes


@dataclass(frozen=True, kw_only=True)
class LogDestination:
    """The log stream of one container."""

    account_id: str
    region: str
    group: str
    stream: str


def log_destination(
    definition: Mapping[str, Any], *, account_id: str, region: str, task_id: str
) -> LogDestination | None:
    """Return the log stream of a container: `prefix/container/task-id`. None without the awslogs driver."""
    configuration = definition.get("logConfiguration") or {}
    if configuration.get("logDriver") != "awslogs":
        return None
    options = configuration.get("options") or {}
    prefix = options.get("awslogs-stream-prefix", "ecs")
    return LogDestination(
        account_id=account_id,
        region=options.get("awslogs-region", region),
        group=options.get("awslogs-group", ""),
        stream=f"{prefix}/{definition['name']}/{task_id}",
    )


def log_destinations(task: Task) -> Iterator[tuple[LogDestination, Mapping[str, str]]]:
    """Yield the log streams of the containers of a task, each with the driver options."""
    launch = task.launch
    for definition in launch.definition.container_definitions:
        destination = log_destination(
            definition, account_id=launch.account_id, region=launch.region, task_id=task.id
        )
        if destination is not None:
            yield destination, definition["logConfiguration"].get("options") or {}


def create_stream(destination: LogDestination, *, create_group: bool) -> None:
    """Create the stream and, with `create_group`, its group. Call it under the lock."""
    backend = logs_backends[destination.account_id][destination.region]
    if create_group:
        backend.ensure_log_group(destination.group)
    backend.ensure_log_stream(destination.group, destination.stream)


class TaskLogs:
    """Buffers lines and writes them to their log streams every second."""

    def __init__(self, *, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self._exclusive = exclusive
        self._waiting: dict[LogDestination, kept_events.PendingEvents] = {}
        self._lost: set[LogDestination] = set()

    def writer(self, destination: LogDestination) -> Callable[[str], None]:
        """Return a function that buffers the lines of one container."""

        def write(line: str) -> None:
            waiting = self._waiting.setdefault(destination, kept_events.PendingEvents())
            now = int(time.time() * 1000)
            waiting.extend({"timestamp": now, "message": piece} for piece in _pieces(line))

        return write

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_BATCH_SECONDS)
            self.flush()

    def flush(self) -> None:
        """Write the buffered events to their streams."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        with self._exclusive():
            for destination, last in waiting.items():
                self._put(destination, last.events)

    def _put(self, destination: LogDestination, events: list[dict[str, Any]]) -> None:
        """Events of a deleted group or stream are lost, as with awslogs; the container keeps running."""
        group = logs_backends[destination.account_id][destination.region].groups.get(destination.group)
        stream = None if group is None else group.streams.get(destination.stream)
        if stream is None:
            if destination not in self._lost:
                self._lost.add(destination)
                _log.warning(
                    "log stream %s of %s is gone: its events are lost", destination.stream, destination.group
                )
            return
        stream.put_log_events(events)
        kept_events.bound(stream, added=len(events))


def _pieces(line: str) -> list[str]:
    """Split a line into events of at most the allowed bytes, between characters. Like Docker, drop an empty line."""
    data = line.encode(errors="replace")
    pieces = []
    while data:
        end = min(len(data), _LONGEST_EVENT)
        while end < len(data) and data[end] & 0xC0 == 0x80:  # noqa: PLR2004  a UTF-8 continuation byte
            end -= 1
        pieces.append(data[:end].decode())
        data = data[end:]
    return pieces

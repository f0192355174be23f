"""`python -m mclass_tf.local.balancer`: reads snapshots from standard input and writes reports to standard output.

It ends at SIGTERM, or when standard input ends, and so with the process that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import cast

from mclass_tf.local.balancer.capacity import raise_limit
from mclass_tf.local.balancer.report import AccessLog, Failure, Metrics, Report, to_json
from mclass_tf.local.balancer.server import DataPlane
from mclass_tf.local.balancer.snapshot import Snapshot

try:
    import uvloop
except ImportError:
    new_loop = asyncio.new_event_loop
else:
    new_loop = uvloop.new_event_loop

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 1.0  # for the reader to take the last reports
_MAX_UNREAD = 64 * 1024 * 1024  # bytes of reports in the write buffer


class _InputLines(asyncio.Protocol):
    """Puts each line of standard input into a queue, and None at the end."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._parts: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        first, *others = data.split(b"\n")
        self._parts.append(first)
        for part in others:
            self.lines.put_nowait(b"".join(self._parts))
            self._parts = [part]

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.lines.put_nowait(None)


class _Reports(asyncio.BaseProtocol):
    """Standard output. Writing to it never blocks.

    Unread reports are buffered up to a limit. Beyond it, reports of past events are dropped. Reports of the current state are still sent.
    """

    def __init__(self) -> None:
        self._is_closed = asyncio.Event()
        self._lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, report: Report) -> None:
        waiting = self._transport.get_write_buffer_size()
        if waiting > _MAX_UNREAD and isinstance(report, Metrics | Failure | AccessLog):
            self._lost += 1
            return
        if self._lost and waiting < _MAX_UNREAD // 2:
            _log.error("%d reports were lost because nobody read them in time", self._lost)
            self._lost = 0
        self._transport.write(to_json(report).encode() + b"\n")

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._is_closed.set()

    async def close(self) -> None:
        """Write the buffered reports, if somebody still reads them."""
        self._transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._is_closed.wait()


async def run() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    _, lines = await loop.connect_read_pipe(_InputLines, os.fdopen(0, "rb", buffering=0))
    _, reports = await loop.connect_write_pipe(_Reports, os.fdopen(1, "wb", buffering=0))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lines.lines.put_nowait, None)
    raise_limit()
    plane = DataPlane(reports.send)
    telemetry = loop.create_task(plane.telemetry.run())
    while (line := await lines.lines.get()) is not None:
        if line.strip():
            await apply(plane, line)
    telemetry.cancel()
    plane.close()
    plane.telemetry.flush()
    await reports.close()


async def apply(plane: DataPlane, line: bytes) -> None:
    """Apply a snapshot. If that fails, the previous one stays in force."""
    try:
        await plane.apply(Snapshot.from_json(line))
    except Exception:  # noqa: BLE001
        _log.exception("a snapshot could not be applied")


def main() -> None:
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main()

"""Runs the load balancer process: starts it, sends it snapshots and receives its reports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from mclass_tf.local.aws.elbv2 import snapshot
from mclass_tf.local.aws.elbv2.snapshot import BuiltSnapshot
from mclass_tf.local.balancer.report import Applied, Report, from_json
from mclass_tf.local.balancer.snapshot import Snapshot
from mclass_tf.local.live import live

_log = logging.getLogger("mclass_tf.local")

COMMAND = (sys.executable, "-m", "mclass_tf.local.balancer")

_TOPICS = {"elbv2", "ecs"}
_MAX_REPORT_LINE = 64 * 1024 * 1024  # bytes
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds before a restart
_STABLE_AFTER = 10.0  # seconds after which a start counts as a success
_EXIT_TIMEOUT = 1.0  # seconds for the process to exit, before each harder attempt to end it
_ERROR = re.compile(r"\S+ \S+ ERROR (?:__main__|mclass_tf\S*): (.*)")  # in the log of the process


async def _no_delay() -> None:
    pass


class Balancer:
    """Keeps one child process running until `run` is cancelled.

    `build` makes the snapshots and `take` receives the reports. Both are called under the API lock, `exclusive`. The first
    snapshot is sent when `after` has returned.
    """

    def __init__(
        self,
        *,
        exclusive: Callable[[], AbstractContextManager[None]],
        take: Callable[[Report], None],
        build: Callable[[int], BuiltSnapshot] = snapshot.build,
        command: Sequence[str] = COMMAND,
        after: Callable[[], Awaitable[None]] = _no_delay,
    ) -> None:
        self._exclusive = exclusive
        self._build = build
        self._take = take
        self._command = command
        self._after = after
        self._version = 0
        self._applied = 0
        self._due = asyncio.Event()

    @property
    def applied(self) -> int:
        """Return the version of the snapshot that is in force."""
        return self._applied

    async def run(self) -> None:
        loop = asyncio.get_running_loop()

        def notice(topic: str) -> None:
            if topic in _TOPICS:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._due.set)

        unlisten = live.listen(notice)
        try:
            await self._keep_running()
        finally:
            unlisten()
            live.traffic.forget_listening()

    async def _keep_running(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            started = time.monotonic()
            status = await self._run_once()
            live.traffic.forget_listening()
            live.problems.append(  # every time: the number of restarts is informative
                f"the load balancer process ended with status {status}; it was started again"
            )
            _log.error("the load balancer process ended with status %d", status)
            pause = _FIRST_PAUSE if time.monotonic() - started > _STABLE_AFTER else pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _run_once(self) -> int:
        """Run the child until it exits, and return its exit status."""
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_MAX_REPORT_LINE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert child.stdin is not None  # noqa: S101  narrows the type: stdin is a pipe
        assert child.stdout is not None  # noqa: S101
        assert child.stderr is not None  # noqa: S101
        sender = asyncio.create_task(self._send_snapshots(child.stdin))
        receiver = asyncio.create_task(self._take_reports(child.stdout))
        log_forwarder = asyncio.create_task(_forward_log(child.stderr))
        try:
            await asyncio.wait([sender, receiver], return_when=asyncio.FIRST_COMPLETED)
            for task in (sender, receiver):
                if task.done():
                    task.result()  # raises if the task failed, which is a bug
        finally:
            sender.cancel()
            await asyncio.shield(_end(child, receiver, log_forwarder))
        return child.returncode or 0

    async def _send_snapshots(self, pipe: asyncio.StreamWriter) -> None:
        sent: Snapshot | None = None
        await self._after()
        with contextlib.suppress(ConnectionError):  # the child has exited; `_take_reports` detects it, too
            while True:
                self._due.clear()
                built = self._try_to_build()
                if built is not None and built.snapshot != sent:
                    sent = built.snapshot
                    self._version += 1
                    pipe.write(replace(sent, version=self._version).to_json().encode() + b"\n")
                    await pipe.drain()
                await self._await_change(built)

    def _try_to_build(self) -> BuiltSnapshot | None:
        """Return a snapshot, or None on failure. Then the previous one stays in force until the next change."""
        try:
            with self._exclusive():
                return self._build(0)
        except Exception as error:  # noqa: BLE001  reported, and tried again
            _log.exception("no snapshot for the load balancer process")
            problem = "the load balancers keep their previous configuration, because their snapshot failed"
            _report_problem(f"{problem}: {type(error).__name__}: {error}")
            return None

    async def _await_change(self, built: BuiltSnapshot | None) -> None:
        """Wait for a change, or until the next draining target is removed."""
        if built is None or built.next_end is None:
            await self._due.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, built.next_end - time.time()) + 0.001):
                await self._due.wait()
            return
        live.changed("targets")

    async def _take_reports(self, pipe: asyncio.StreamReader) -> None:
        while line := await pipe.readline():
            report = from_json(line)
            if isinstance(report, Applied):
                self._applied = report.version
                live.changed("balancer")
            with self._exclusive():
                self._take(report)


async def _forward_log(pipe: asyncio.StreamReader) -> None:
    """Copy the log of the process to stderr, and report its errors as problems of the local AWS."""
    while line := await pipe.readline():
        text = line.decode(errors="replace")
        with contextlib.suppress(OSError, ValueError):  # stderr may be closed
            sys.stderr.write(text)
        if error := _ERROR.match(text):
            _report_problem(f"the load balancer process: {error[1]}")


def _report_problem(problem: str) -> None:
    """Report a problem once, although every snapshot may cause it again."""
    if problem not in live.problems:
        live.problems.append(problem)


async def _end(child: asyncio.subprocess.Process, *readers: asyncio.Task[None]) -> None:
    """Close the child's stdin, which makes it exit; read its remaining output; then terminate and kill it if necessary."""
    if child.stdin is not None:
        child.stdin.close()
    await asyncio.wait(readers, timeout=_EXIT_TIMEOUT)
    for task in readers:
        task.cancel()
    for force in (child.terminate, child.kill):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_TIMEOUT):
                await child.wait()
            return
        with contextlib.suppress(ProcessLookupError):
            force()
    await child.wait()

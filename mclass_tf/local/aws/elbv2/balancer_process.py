"""The control plane's side of the load balancers' process: starts it, tells it what is to be, and hears what it reports."""

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
from mclass_tf.local.aws.elbv2.snapshot import Built
from mclass_tf.local.balancer.report import Applied, Report, from_json
from mclass_tf.local.balancer.snapshot import Snapshot
from mclass_tf.local.live import live

_log = logging.getLogger("mclass_tf.local")

COMMAND = (sys.executable, "-m", "mclass_tf.local.balancer")

_TOPICS = {"elbv2", "ecs"}
_LONGEST_LINE = 64 * 1024 * 1024  # of a report
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds before it is started again
_LONG_ENOUGH = 10.0  # seconds after which a start counts as a success
_PATIENCE = 1.0  # seconds for it to end by itself
_ERROR = re.compile(r"\S+ \S+ ERROR (?:__main__|mclass_tf\S*): (.*)")  # in its log


async def _no_delay() -> None:
    """Wait for nothing."""


class Balancer:
    """Keeps one child process running until `run` is cancelled.

    `build` makes the snapshot and `take` takes reports; both are called under the lock of the calls, `exclusive`. The first
    snapshot is sent once `after` has returned.
    """

    def __init__(
        self,
        *,
        exclusive: Callable[[], AbstractContextManager[None]],
        take: Callable[[Report], None],
        build: Callable[[int], Built] = snapshot.build,
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
            live.problems.append(  # every time: how often it happens tells something
                f"the load balancers' process ended with status {status}; it was started again"
            )
            _log.error("the load balancers' process ended with status %d", status)
            pause = _FIRST_PAUSE if time.monotonic() - started > _LONG_ENOUGH else pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _run_once(self) -> int:
        """Run the child to its end; return its exit status."""
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert child.stdin is not None  # noqa: S101  for the types: it is a pipe
        assert child.stdout is not None  # noqa: S101
        assert child.stderr is not None  # noqa: S101
        telling = asyncio.create_task(self._send_snapshots(child.stdin))
        hearing = asyncio.create_task(self._take_reports(child.stdout))
        overhearing = asyncio.create_task(_pass_log_on(child.stderr))
        try:
            await asyncio.wait([telling, hearing], return_when=asyncio.FIRST_COMPLETED)
            for task in (telling, hearing):
                if task.done():
                    task.result()  # raises what must not go unnoticed: a bug of ours
        finally:
            telling.cancel()
            await asyncio.shield(_end(child, hearing, overhearing))
        return child.returncode or 0

    async def _send_snapshots(self, pipe: asyncio.StreamWriter) -> None:
        """Send a snapshot whenever it differs from the last one."""
        sent: Snapshot | None = None
        await self._after()
        with contextlib.suppress(ConnectionError):  # the child has ended, which `_take_reports` notices too
            while True:
                self._due.clear()
                built = self._try_to_build()
                if built is not None and built.snapshot != sent:
                    sent = built.snapshot
                    self._version += 1
                    pipe.write(replace(sent, version=self._version).to_json().encode() + b"\n")
                    await pipe.drain()
                await self._await_change(built)

    def _try_to_build(self) -> Built | None:
        """Return a snapshot, None if that fails: the one before stays in force until the next change."""
        try:
            with self._exclusive():
                return self._build(0)
        except Exception as error:  # noqa: BLE001  told, and tried again
            _log.exception("no snapshot for the load balancers' process")
            _report_problem(
                "what the load balancers are to do cannot be made out, they go on as before: "
                f"{type(error).__name__}: {error}"
            )
            return None

    async def _await_change(self, built: Built | None) -> None:
        """Wait for a change, or for the end of the next target's draining."""
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


async def _pass_log_on(pipe: asyncio.StreamReader) -> None:
    """Pass its log on; what it could not do is a problem of this AWS."""
    while line := await pipe.readline():
        text = line.decode(errors="replace")
        with contextlib.suppress(OSError, ValueError):  # nobody reads ours
            sys.stderr.write(text)
        if error := _ERROR.match(text):
            _report_problem(f"the load balancers' process: {error[1]}")


def _report_problem(problem: str) -> None:
    """Report a problem once: every snapshot brings it up again."""
    if problem not in live.problems:
        live.problems.append(problem)


async def _end(child: asyncio.subprocess.Process, *hearing: asyncio.Task[None]) -> None:
    """Ask it to end, by the end of its input; hear its last words; make it end."""
    if child.stdin is not None:
        child.stdin.close()
    await asyncio.wait(hearing, timeout=_PATIENCE)
    for task in hearing:
        task.cancel()
    for force in (child.terminate, child.kill):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await child.wait()
            return
        with contextlib.suppress(ProcessLookupError):
            force()
    await child.wait()

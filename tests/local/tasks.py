"""Drivers and containers for tests."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mclass_tf.local.containers.driver import (
    MOST_PROCESSES,
    ContainerSpec,
    Driver,
    RunningContainer,
    TaskServer,
)
from mclass_tf.local.containers.process import ProcessDriver
from tests.local.images import Blobs

PATIENCE = 60  # seconds that a test waits at most


def no_task_server(_listener: socket.socket, _task_id: str) -> TaskServer:
    """For drivers whose containers need no local AWS."""
    raise AssertionError("nothing is to be reached")


ESCAPING = """
import subprocess, sys, time

DAEMON = '''
import os, time
if os.fork() or os.setsid() or os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
time.sleep(1000)
'''
with subprocess.Popen([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, text=True) as child:
    print("escaped", child.stdout.readline().strip(), flush=True)
"""
"""A script that leaves a daemon behind, outside of its process group and session, without a parent."""


@dataclass
class Output:
    """Collects the output lines of a container; tests can wait for lines."""

    lines: list[str] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self.more.set()

    async def line(self, start: str) -> str:
        """Wait for a line with this prefix; return the rest of the line."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for line in self.lines:
                    if line.startswith(start):
                        return line.removeprefix(start).strip()
                self.more.clear()
                await self.more.wait()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A driver with a store of blobs."""

    driver: Driver
    blobs: Blobs
    home: Path

    def container(
        self, digest: str, output: Callable[[str], None], *, env: Mapping[str, str] | None = None, **more: Any
    ) -> ContainerSpec:
        return ContainerSpec(
            name="web", task_id="t", manifest_digest=digest, environment=env or {}, output=output, **more
        )

    async def start(self, digest: str, **more: Any) -> tuple[RunningContainer, Output]:
        output = Output()
        return await self.driver.start(self.container(digest, output, **more)), output

    async def script(self, text: str, **more: Any) -> tuple[RunningContainer, Output]:
        """Run a Python script."""
        return await self.start(self.blobs.make(), command=("-c", text), **more)


@asynccontextmanager
async def processes(folder: Path, *, max_processes: int = MOST_PROCESSES) -> AsyncIterator[Stage]:
    """A process driver below `folder`, closed at the end."""
    blobs = Blobs(folder / "blobs")
    blobs.folder.mkdir()
    driver = ProcessDriver(home=folder, images=blobs, max_processes=max_processes)
    try:
        yield Stage(driver=driver, blobs=blobs, home=folder)
    finally:
        async with asyncio.timeout(PATIENCE):
            await driver.close()


async def ended(running: RunningContainer) -> tuple[int, bool]:
    """Wait for the end; return the exit code and whether it ran out of memory."""
    async with asyncio.timeout(PATIENCE):
        found = await running.wait()
    return found.code, found.is_out_of_memory


async def answer(address: tuple[str, int], path: str) -> str:
    """Send requests until there is a response."""
    host, port = address
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(OSError):
                return await asyncio.to_thread(_get, f"http://{host}:{port}{path}")
            await asyncio.sleep(0.01)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
        return str(reply.read().decode())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  nobody else could set an event
            await asyncio.sleep(0.01)

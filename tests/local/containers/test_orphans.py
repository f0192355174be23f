"""No task outlives the process that runs it, however that process ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.commands import ROOT
from tests.local.tasks import PATIENCE, Output, ended, processes

PARENT = """
import asyncio, sys
from pathlib import Path
from tests.local.tasks import ESCAPING, processes

CHILD = "import os, subprocess; sleeping = subprocess.Popen(['sleep', '1000'])" + ESCAPING.replace(
    '"escaped", ', '"pids", os.getpid(), sleeping.pid, '
) + "time.sleep(1000)"

async def main():
    async with processes(Path(sys.argv[1])) as stage:
        running, output = await stage.script(CHILD)
        print(await output.line("pids"), flush=True)
        await running.wait()

asyncio.run(main())
"""


@contextmanager
def parent(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Run a task in another process; yield the ids of the task, its child, and its daemon."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        pids: list[int] = []
        try:
            assert running.stdout
            pids = [int(pid) for pid in running.stdout.readline().split()]
            assert len(pids) == 3
            yield running, pids
        finally:
            running.kill()
            for pid in filter(_is_alive, pids):  # clean up after a failed test
                os.kill(pid, signal.SIGKILL)


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(psutil.pid_exists(pid) and _is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {pids}"
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def test_a_task_and_what_it_started_die_with_the_server_that_is_killed(tmp_path: Path) -> None:
    with parent(tmp_path) as (running, pids):
        running.kill()
        running.wait()
        assert_gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel knows of no parent's death")
def test_the_task_dies_even_if_the_reaper_was_killed_before(tmp_path: Path) -> None:
    with parent(tmp_path) as (running, pids):
        reapers = [
            child for child in psutil.Process(running.pid).children() if "reaper.py" in child.cmdline()[-1]
        ]
        assert len(reapers) == 1
        for process in (reapers[0].pid, running.pid):
            os.kill(process, signal.SIGKILL)
        running.wait()
        assert_gone(pids[:1])  # nobody is left to find its child


def test_the_reaper_ignores_signals_that_are_meant_for_the_server(tmp_path: Path) -> None:
    with parent(tmp_path) as (running, pids):
        (reaper,) = [
            child for child in psutil.Process(running.pid).children() if "reaper.py" in child.cmdline()[-1]
        ]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            reaper.send_signal(number)
        running.kill()
        running.wait()
        assert_gone([*pids, reaper.pid])


def test_what_an_earlier_instance_left_is_removed(tmp_path: Path) -> None:
    with parent(tmp_path) as (running, _):
        running.kill()
        running.wait()
    left = tmp_path / "tasks" / "images"
    assert list(left.iterdir())
    blobs = tmp_path / "blobs"
    blobs.rename(tmp_path / "old")

    async def run() -> None:
        async with processes(tmp_path) as stage:
            assert list(left.iterdir()) == []
            running, _ = await stage.script("")
            assert await ended(running) == (0, False)

    asyncio.run(run())


def test_a_start_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            digest = stage.blobs.make()
            await stage.driver.pull(digest)
            container = stage.container(digest, Output(), command=("-c", "import time; time.sleep(1000)"))
            for delay in (0, 0.005, 0.02):
                start = asyncio.ensure_future(stage.driver.start(container))
                await asyncio.sleep(delay)
                start.cancel()
                await asyncio.wait([start])
                if not start.cancelled():
                    await start.result().kill()

    asyncio.run(run())
    assert [child for child in psutil.Process().children() if "time.sleep(1000)" in _command(child)] == []


def _command(process: psutil.Process) -> str:
    """Return the command line; empty if the process has ended, reaped or not."""
    try:
        return " ".join(process.cmdline())
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return ""

"""A start that is given up, or fails, leaves nothing behind: no process, no descriptor, no reader, no folder, no address."""

from __future__ import annotations

import asyncio
import selectors
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from mclass_tf.local.tasks import nursery
from mclass_tf.local.tasks.driver import CHECK_TIMED_OUT
from mclass_tf.local.tasks.nursery import ExecError, Nursery, Program
from tests.local.tasks import PATIENCE, Output, processes

NEVER_READY = "import time; time.sleep(1000)"


def dropped(_piece: bytes) -> None:
    """Take output that nobody reads."""


def program(folder: Path, *arguments: str) -> Program:
    return Program(argv=(sys.executable, *arguments), cwd=folder, env={}, stdout=dropped, stderr=dropped)


def never_ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no child becomes its program."""
    place = folder / "launchers"
    place.mkdir()
    shutil.copy(nursery._HERE / "warden.py", place)
    (place / "launcher.py").write_text(NEVER_READY)
    monkeypatch.setattr(nursery, "_HERE", place)


def launchers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "launcher.py" in _command(child)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return ""


async def cancelled(start: asyncio.Task[object]) -> None:
    """Cancel it once its child is there, and wait for its end."""
    async with asyncio.timeout(PATIENCE):
        while not launchers():  # noqa: ASYNC110  nobody else could set an event
            await asyncio.sleep(0.01)
        start.cancel()
        await asyncio.wait([start])
    assert start.cancelled()


def test_a_cancelled_start_has_ended_its_process_and_closed_its_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_ready(tmp_path, monkeypatch)

    async def run() -> None:
        one = Nursery()
        one.at_the_end(("true",))  # its warden is there
        before = psutil.Process().num_fds()
        await cancelled(asyncio.create_task(one.start(program(tmp_path))))
        assert launchers() == []
        assert psutil.Process().num_fds() == before
        await one.close()

    asyncio.run(run())


class Turns(selectors.DefaultSelector):
    """Counts the turns of the loop that waits on it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.count += 1
        return super().select(timeout)


def test_a_cancelled_start_leaves_no_reader_that_spins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_ready(tmp_path, monkeypatch)
    turns = Turns()

    async def run() -> int:
        one = Nursery()
        await cancelled(asyncio.create_task(one.start(program(tmp_path))))
        async with asyncio.timeout(PATIENCE):
            while launchers():  # noqa: ASYNC110  nobody else could set an event
                await asyncio.sleep(0.01)
        before = turns.count
        await asyncio.sleep(0.2)
        spent = turns.count - before
        await one.close()
        return spent

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        assert runner.run(run()) < 10


def test_a_child_that_no_warden_could_be_told_of_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(nursery, "_start_warden", fail)
    marker = tmp_path / "ran"

    async def run() -> None:
        one = Nursery()
        before = psutil.Process().num_fds()
        with pytest.raises(ExecError, match="temporarily unavailable"):
            await one.start(program(tmp_path, "-c", f"open({str(marker)!r}, 'w')"))
        assert psutil.Process().num_fds() == before
        assert launchers() == []

    asyncio.run(run())
    assert not marker.exists()


def test_a_health_check_whose_program_does_not_start_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage, asyncio.timeout(PATIENCE):
            running, _ = await stage.script(NEVER_READY)
            never_ready(tmp_path, monkeypatch)
            assert await running.run_check(["CMD", "true"], seconds=0.3) == (
                CHECK_TIMED_OUT,
                "Health check exceeded timeout (0.3s): ",
            )
            assert [child for child in launchers() if "/true" in _command(child)] == []
            await running.kill()

    asyncio.run(run())


def test_a_cancelled_start_gives_back_its_folder_and_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            digest = stage.blobs.make()
            await stage.driver.pull(digest)
            never_ready(tmp_path, monkeypatch)
            container = stage.container(digest, Output(), ports=[3000])
            await cancelled(asyncio.create_task(stage.driver.start(container)))
            assert list((tmp_path / "tasks" / "running").iterdir()) == []
            assert stage.driver._addresses._taken == set()  # type: ignore[attr-defined]

    asyncio.run(run())

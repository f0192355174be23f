"""A cancelled or failed start leaves nothing behind: no process, descriptor, reader, folder or address."""

from __future__ import annotations

import asyncio
import selectors
import shutil
import sys
import threading
from pathlib import Path
from typing import cast

import psutil
import pytest

from mclass_tf.local.aws import functions
from mclass_tf.local.containers import child_processes, podman, process
from mclass_tf.local.containers.child_processes import ChildProcesses, ExecError, Program
from mclass_tf.local.containers.choice import DelegatingDriver
from mclass_tf.local.containers.driver import ContainerSpec
from mclass_tf.local.containers.engine import ContainerEngine
from mclass_tf.local.containers.image import Image
from mclass_tf.local.containers.process import ProcessDriver
from mclass_tf.local.containers.threads import in_thread
from tests.local.images import Blobs, Entry, layer
from tests.local.tasks import PATIENCE, Output, ended, no_task_server, processes, until

LAUNCHERS = ("launcher.py", "supervisor.py")
NEVER_READY = "import time; time.sleep(1000)"


def dropped(_piece: bytes) -> None:
    """Discard output."""


def program(folder: Path, *arguments: str) -> Program:
    return Program(argv=(sys.executable, *arguments), cwd=folder, env={}, stdout=dropped, stderr=dropped)


def never_ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent children from executing their programs."""
    place = folder / "launchers"
    place.mkdir()
    shutil.copy(child_processes._HERE / "reaper.py", place)
    for name in LAUNCHERS:
        (place / name).write_text(NEVER_READY)
    monkeypatch.setattr(child_processes, "_HERE", place)


def launchers() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if any(name in _command(child) for name in LAUNCHERS)
    ]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return ""


async def cancelled(start: asyncio.Task[object]) -> None:
    """Cancel the start once its child exists, and wait for its end."""
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
        one = ChildProcesses()
        one.run_at_exit(("true",))  # starts the reaper
        before = psutil.Process().num_fds()
        await cancelled(asyncio.create_task(one.start(program(tmp_path))))
        assert launchers() == []
        assert psutil.Process().num_fds() == before
        await one.close()

    asyncio.run(run())


class Turns(selectors.DefaultSelector):
    """Counts the iterations of the event loop."""

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
        one = ChildProcesses()
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


def test_a_child_is_not_started_if_the_reaper_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(child_processes, "_start_reaper", fail)
    marker = tmp_path / "ran"

    async def run() -> None:
        one = ChildProcesses()
        before = psutil.Process().num_fds()
        with pytest.raises(ExecError, match="temporarily unavailable"):
            await one.start(program(tmp_path, "-c", f"open({str(marker)!r}, 'w')"))
        assert psutil.Process().num_fds() == before
        assert launchers() == []

    asyncio.run(run())
    assert not marker.exists()


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


def test_a_thread_at_work_is_waited_for_by_the_call_that_is_cancelled() -> None:
    going_on = threading.Event()
    written: list[str] = []

    def work(text: str, *, more: str) -> str:
        going_on.wait(PATIENCE)
        written.append(text + more)
        return text

    async def run() -> None:
        assert not going_on.is_set()
        call = asyncio.create_task(in_thread(work, "one", more=" two"))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.sleep(0.05)
        assert not call.done()
        going_on.set()
        await asyncio.wait([call])
        assert call.cancelled()
        assert written == ["one two"]
        assert await in_thread(work, "three", more="") == "three"

    asyncio.run(run())


def test_a_driver_that_closes_waits_for_the_image_that_is_being_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacking, going_on, unpacked = threading.Event(), threading.Event(), threading.Event()

    def unpack(*_: object, root: Path, **__: object) -> None:
        unpacking.set()
        going_on.wait(PATIENCE)
        (root / "file").touch()
        unpacked.set()

    monkeypatch.setattr(process, "unpack", unpack)

    async def run() -> None:
        async with processes(tmp_path) as stage:
            pull = asyncio.create_task(stage.driver.pull(stage.blobs.make()))
            await until(unpacking.is_set)
            asyncio.get_running_loop().call_later(0.2, going_on.set)
        assert unpacked.is_set()
        assert not (tmp_path / "tasks").exists()
        await asyncio.wait([pull])

    asyncio.run(run())


def test_memory_is_measured_only_while_something_runs_that_has_a_limit(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            driver = stage.driver
            assert isinstance(driver, ProcessDriver)
            for _ in range(2):
                running, _ = await stage.script(NEVER_READY, memory_mib=1000)
                assert driver._measuring is not None
                assert not driver._measuring.done()
                await running.kill()
                await ended(running)
                await until(driver._measuring.done)

    asyncio.run(run())


def test_a_container_has_ended_even_where_its_last_line_cannot_be_taken(tmp_path: Path) -> None:
    def fail(_line: str) -> None:
        raise ZeroDivisionError

    async def run() -> None:
        async with processes(tmp_path) as stage:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            container = stage.container(stage.blobs.make(), fail, command=("-c", "print(1, end='')"))
            assert await ended(await stage.driver.start(container)) == (0, False)

    asyncio.run(run())


def test_a_container_of_an_engine_that_is_gone_has_ended_and_fails_its_checks(tmp_path: Path) -> None:
    engine = ContainerEngine(name="podman", path=str(tmp_path / "podman"), home="h", instance_id="i")

    async def run() -> None:
        children = ChildProcesses()
        over: list[object] = []
        container = podman._Container(
            name="web",
            spec=ContainerSpec(name="web", task_id="t", manifest_digest="", environment={}, output=print),
            image=cast("Image", None),
            engine=engine,
            commands=podman.Commands(children, cwd=tmp_path),
            listener=None,
        )
        status, output = await container.run_check(["CMD", "true"], seconds=PATIENCE)
        assert (status, output) == (127, "No such file or directory")
        container.follow(over.append)
        assert await ended(container) == (0, False)
        assert over == [container]
        await children.close()

    asyncio.run(run())


def test_an_engine_that_is_found_while_the_driver_closes_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed, going_on = tmp_path / "probed", tmp_path / "going-on"
    engine = tmp_path / "path" / "podman"
    engine.parent.mkdir()
    engine.write_text(f"#!/bin/sh\n: >{probed}\nwhile [ ! -e {going_on} ]; do /bin/sleep 0.01; done\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(engine.parent))
    blobs = Blobs(tmp_path / "blobs")
    blobs.folder.mkdir()

    async def run() -> None:
        drivers = DelegatingDriver(
            home=tmp_path,
            images=blobs,
            instance_id="one",
            url="http://127.0.0.1:9",
            serve_task=no_task_server,
        )
        real = blobs.make(layer(Entry(name="bin/sh")), labels={})
        pull = asyncio.create_task(drivers.pull(real))
        await until(probed.exists)
        close = drivers._process.close

        async def slow() -> None:
            going_on.touch()
            await asyncio.wait([pull], timeout=2)
            await close()

        monkeypatch.setattr(drivers._process, "close", slow)
        await drivers.close()
        await asyncio.wait([pull])
        assert drivers._containers is None

    asyncio.run(run())


def test_a_function_that_is_cancelled_while_it_is_laid_out_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, going_on = threading.Event(), threading.Event()

    def lay_out(place: Path, *_: object) -> None:
        begun.set()
        going_on.wait(PATIENCE)
        place.mkdir()

    monkeypatch.setattr(functions, "_prepare", lay_out)

    async def run() -> None:
        runner = functions.Functions(home=tmp_path, url="http://127.0.0.1:9")
        call = asyncio.create_task(runner.call(cast("functions.Function", None), {}, variables={}))
        await until(begun.is_set)
        call.cancel()
        asyncio.get_running_loop().call_later(0.2, going_on.set)
        await asyncio.wait([call])
        await asyncio.to_thread(going_on.wait, PATIENCE)
        assert list((tmp_path / "functions").iterdir()) == []
        await runner.close()

    asyncio.run(run())

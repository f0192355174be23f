"""Time from the start of a task to its first response, compared with starting the program directly; memory of the driver."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from benchmarks.figure import Figure, Result
from benchmarks.stage import stage
from mclass_tf.local.containers.addresses import Addresses
from mclass_tf.local.containers.driver import ContainerSpec, RunningContainer
from mclass_tf.local.containers.process import ProcessDriver

LIMIT = 1.5  # times the start by hand
LIMIT_MEMORY = 20.0  # MB for the driver, ten tasks running
_MANY = 10
_PORT = 3000
_PATIENCE = 30
_REQUEST = b"GET /version HTTP/1.1\r\nHost: task\r\nConnection: close\r\n\r\n"
_OURS, _BY_HAND = "task", "by hand"


def measure(rounds: int) -> Result:
    with stage() as made:
        built = json.loads(made.mclass_tf("build", "--builder", "builtin", "--json").stdout)
        image = _Image(home=made.folder, digest=built["digest"], layout=Path(built["layout"]))
        return asyncio.run(_measure(image, rounds))


@dataclass(frozen=True, kw_only=True)
class _Image:
    """The app's image, as a source of blobs like the registry's store, and the paths of its tasks in `home`."""

    home: Path
    digest: str
    layout: Path

    def blob(self, digest: str) -> Path:
        return self.layout / "blobs" / "sha256" / digest.removeprefix("sha256:")

    @property
    def root(self) -> Path:
        """Where the driver unpacks the image."""
        return self.home / "tasks" / "images" / self.digest.removeprefix("sha256:")

    @property
    def python(self) -> Path:
        """The driver's interpreter, which exists after the first start."""
        return self.home / "tasks" / "python" / "bin" / "python"


async def _measure(image: _Image, rounds: int) -> Result:
    driver = ProcessDriver(home=image.home, images=image)
    taken: dict[str, list[float]] = {_OURS: [], _BY_HAND: []}
    try:
        before = time.perf_counter()
        await driver.pull(image.digest)
        pulled = time.perf_counter() - before
        await _took(_task(driver, image))  # the first start creates the interpreter
        for turn in range(rounds):
            for name in sorted(taken, reverse=bool(turn % 2)):
                taken[name].append(await _took(_task(driver, image) if name == _OURS else _process(image)))
        memory = await _memory(driver, image)
    finally:
        await driver.close()
    ratios = [ours / hand for ours, hand in zip(taken[_OURS], taken[_BY_HAND], strict=True)]
    return Result(
        benchmark="tasks",
        figures=(
            Figure(
                name="task: start to the first answer / the same by hand",
                value=median(ratios),
                unit="",
                limit=LIMIT,
                note=f"rounds {min(ratios):.2f} to {max(ratios):.2f}",
            ),
            Figure(name="task: start to the first answer", value=median(taken[_OURS]), unit="s"),
            Figure(name="`python -m app` by hand, the same files", value=median(taken[_BY_HAND]), unit="s"),
            Figure(name="task: the image unpacked, once", value=pulled, unit="s"),
            Figure(
                name=f"driver of {_MANY} running tasks",
                value=memory,
                unit="MB",
                limit=LIMIT_MEMORY,
                note="RSS of its process, and what it adds to the server",
            ),
        ),
        runs=taken,
    )


async def _took(started: AbstractAsyncContextManager[tuple[str, int]]) -> float:
    """Return the seconds from the start to the first response."""
    before = time.perf_counter()
    async with started as address, asyncio.timeout(_PATIENCE):
        await _answered(address)
        return time.perf_counter() - before


async def _answered(address: tuple[str, int]) -> None:
    while not await _answers(address):  # noqa: ASYNC110  nobody could set an event
        await asyncio.sleep(0.002)


async def _answers(address: tuple[str, int]) -> bool:
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(_REQUEST)
            return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        finally:
            writer.close()
    return False


@asynccontextmanager
async def _task(driver: ProcessDriver, image: _Image) -> AsyncIterator[tuple[str, int]]:
    running = await _start(driver, image)
    try:
        yield running.addresses[_PORT]
    finally:
        await running.kill()
        await running.wait()


async def _start(driver: ProcessDriver, image: _Image) -> RunningContainer:
    container = ContainerSpec(
        name="web",
        task_id="benchmark",
        manifest_digest=image.digest,
        environment={},
        output=lambda _: None,
        ports=(_PORT,),
        memory_mib=512,
    )
    return await driver.start(container)


@asynccontextmanager
async def _process(image: _Image) -> AsyncIterator[tuple[str, int]]:
    """The same interpreter with the same files: only the driver is missing."""
    ((host, port),) = Addresses().take([_PORT]).values()
    process = subprocess.Popen(  # noqa: ASYNC220  as short as the driver's own
        (str(image.python), "-m", "app"),
        cwd=image.root / "srv",
        env=_environment(image, host=host, port=port),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield host, port
    finally:
        process.kill()
        process.wait()


def _environment(image: _Image, *, host: str, port: int) -> Mapping[str, str]:
    return {"PYTHONPATH": str(image.root / "srv" / "lib"), "MCLASS_HOST": host, "MCLASS_PORT": str(port)}


async def _memory(driver: ProcessDriver, image: _Image) -> float:
    """Return the overhead of many tasks in MB: the memory of the driver's processes and the growth of this process."""
    me = psutil.Process()
    before = me.memory_info().rss
    running = [await _start(driver, image) for _ in range(_MANY)]
    try:
        for one in running:
            await _answered(one.addresses[_PORT])
        grown = me.memory_info().rss - before
        own = sum(child.memory_info().rss for child in me.children() if "reaper.py" in child.cmdline()[-1])
    finally:
        for one in running:
            await one.kill()
            await one.wait()
    return (max(grown, 0) + own) / 1e6

"""A driver whose containers do what a test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from mclass_tf.local.containers.driver import ContainerSpec, ContainerStartError, Exit, PullError, Usage


class FakeContainer:
    """Ends with 143 on SIGTERM, unless configured to ignore it. Checks succeed by default."""

    def __init__(self, container: ContainerSpec) -> None:
        self.container = container
        self.signals: list[str] = []
        self.checks: list[tuple[Sequence[str], float]] = []
        self.check_result: tuple[int, str] = (0, "fine")
        self.ignores_sigterm = False
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    @property
    def addresses(self) -> Mapping[int, tuple[str, int]]:
        return {port: ("127.0.0.1", 20_000 + port) for port in self.container.ports}

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def terminate(self) -> None:
        self.signals.append("SIGTERM")
        if not self.ignores_sigterm:
            self.exit(143)

    async def kill(self) -> None:
        self.signals.append("SIGKILL")
        self.exit(137)

    async def run_check(self, command: Sequence[str], *, seconds: float) -> tuple[int, str]:
        self.checks.append((command, seconds))
        return self.check_result

    def usage(self) -> Usage:
        return Usage(memory_bytes=50_000_000, cpu_seconds=1.5)

    def exit(self, code: int, *, is_out_of_memory: bool = False) -> None:
        if not self._exit.done():
            self._exit.set_result(Exit(code=code, is_out_of_memory=is_out_of_memory))

    def say(self, line: str) -> None:
        self.container.output(line)


class FakeDriver:
    """Starts fake containers. `pull_gate` and `start_gate` block it until they are set."""

    name = "fake"

    def __init__(self) -> None:
        self.started: list[FakeContainer] = []
        self.pulled: list[str] = []
        self.pull_error = ""
        self.start_error = ""
        self.is_closed = False
        self.pull_gate = asyncio.Event()
        self.start_gate = asyncio.Event()
        self.pull_gate.set()
        self.start_gate.set()

    async def pull(self, manifest_digest: str) -> None:
        await self.pull_gate.wait()
        if self.pull_error:
            raise PullError(self.pull_error)
        self.pulled.append(manifest_digest)

    async def start(self, container: ContainerSpec) -> FakeContainer:
        await self.start_gate.wait()
        if self.start_error:
            raise ContainerStartError(self.start_error)
        self.started.append(FakeContainer(container))
        return self.started[-1]

    async def close(self) -> None:
        self.is_closed = True
        for container in self.started:
            container.exit(137)

    def named(self, name: str) -> FakeContainer:
        return next(entry for entry in self.started if entry.container.name == name)

"""Runs images of the built-in builder as processes of this machine."""

from __future__ import annotations

import asyncio
import signal
import sys
import sysconfig
import uuid
import venv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mclass_tf.local.containers import usage
from mclass_tf.local.containers.addresses import Addresses, NoAddressError
from mclass_tf.local.containers.driver import (
    CHECK_TIMED_OUT,
    MOST_PROCESSES,
    Container,
    Exit,
    Images,
    PullError,
    Running,
    StartError,
    Usage,
    check_argv,
)
from mclass_tf.local.containers.image import PYTHON, Image, read
from mclass_tf.local.containers.nursery import Child, ExecError, Nursery
from mclass_tf.local.containers.output import Lines, Tail
from mclass_tf.local.containers.plan import ProcessPlan, cannot_execute
from mclass_tf.local.containers.signals import heeds
from mclass_tf.local.containers.threads import in_thread
from mclass_tf.local.containers.unpack import remove, unpack

_LONGEST_NAME = 100  # characters of a container's name in that of its folder
_MEASURED_EVERY = 0.25  # seconds
_NOT_FOUND = 127  # a shell's status for a command that is not there
_SIGKILL = 128 + signal.SIGKILL
_CHECK_OUTPUT = 4096  # bytes, as docker keeps


class ProcessDriver:
    """The files of an image are shared by its tasks; each task has an address and a folder for temporary files of its own."""

    name = "process"

    def __init__(self, *, home: Path, images: Images, most: int = MOST_PROCESSES) -> None:
        """Everything of an earlier instance goes: it is of no use, and may be incomplete. `most` processes has a container."""
        self._most = most
        self._folder = home / "tasks"
        self._images = images
        remove(self._folder)
        for name in ("images", "running"):
            (self._folder / name).mkdir(mode=0o700, parents=True)
        self._nursery = Nursery()
        self._addresses = Addresses()
        self._pulls: dict[str, asyncio.Task[Image]] = {}
        self._python: asyncio.Task[Path] | None = None
        self._running: set[_Process] = set()
        self._measuring: asyncio.Task[None] | None = None
        self._is_closed = False

    async def pull(self, manifest_digest: str) -> None:
        await self._pulled(manifest_digest)

    async def start(self, container: Container) -> Running:
        if self._is_closed:
            raise StartError("the local AWS is going down")
        image = await self._pulled(container.manifest_digest)
        _check(image)
        python = await self._interpreter()
        try:
            addresses = self._addresses.take(container.ports)
        except NoAddressError as error:
            raise StartError(str(error)) from None
        name = f"{container.name[:_LONGEST_NAME]}-{uuid.uuid4().hex[:8]}"
        plan = ProcessPlan(
            image=image,
            container=container,
            root=self._root(image.digest),
            python=python,
            place=self._folder / "running" / name,
            addresses=addresses,
            most=self._most,
        )
        try:
            return await self._start(plan)
        except BaseException:
            self._forget(plan)
            raise

    async def close(self) -> None:
        self._is_closed = True
        await self._nursery.close()
        for running in tuple(self._running):
            await running.wait()
        for task in (self._measuring, self._python, *self._pulls.values()):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await asyncio.to_thread(remove, self._folder)

    async def _pulled(self, digest: str) -> Image:
        """Unpack the image unless that was done, or is being done; what failed is tried again."""
        pull = self._pulls.get(digest)
        if pull is None or (pull.done() and (pull.cancelled() or pull.exception() is not None)):
            pull = self._pulls[digest] = asyncio.create_task(in_thread(self._unpack, digest))
        return await asyncio.shield(pull)

    def _unpack(self, digest: str) -> Image:
        image = read(self._images, digest)
        if not image.is_builtin:
            return image
        root = self._root(digest)
        draft = root.with_name(f"{root.name}.draft")
        try:
            draft.mkdir()
            unpack(image, images=self._images, root=draft)
            draft.chmod(0o700)  # macOS renames no folder that cannot be written to
            draft.rename(root)
            root.chmod(0o555)
        except OSError as error:
            raise PullError(f"{digest} cannot be unpacked: {error.strerror}") from None
        finally:
            remove(draft)
        return image

    def _root(self, digest: str) -> Path:
        return self._folder / "images" / digest.removeprefix("sha256:")

    async def _interpreter(self) -> Path:
        """Return this machine's Python for tasks, made once."""
        if self._python is None:
            self._python = asyncio.create_task(in_thread(_make_python, self._folder / "python"))
        try:
            return await asyncio.shield(self._python)
        except OSError as error:
            self._python = None
            raise StartError(f"{self._folder / 'python'} cannot be made: {error.strerror}") from None

    async def _start(self, plan: ProcessPlan) -> _Process:
        try:
            plan.place.mkdir(mode=0o700)
            lines = [Lines(plan.container.output) for _ in range(2)]
            out, err = lines
            program = plan.program(plan.argv, stdout=out.take, stderr=err.take)
            child = await self._nursery.start(program)
        except ExecError as error:
            raise StartError(cannot_execute(plan.argv[0], str(error))) from None
        except OSError as error:
            raise StartError(f"{plan.place} cannot be made: {error.strerror}") from None
        process = _Process(child=child, plan=plan, nursery=self._nursery)
        self._running.add(process)
        process.follow(lines, self._ended)
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure())
        return process

    def _ended(self, process: _Process) -> None:
        self._running.discard(process)
        self._forget(process.plan)

    def _forget(self, plan: ProcessPlan) -> None:
        self._addresses.give_back(plan.addresses)
        remove(plan.place)

    async def _measure(self) -> None:
        """While anything has a limit, kill what uses more memory than that, as the kernel does in a container."""
        while self._limited():
            await asyncio.sleep(_MEASURED_EVERY)
            limited = self._limited()
            limits = {keeper: running.plan.limit or 0 for keeper, running in limited.items()}
            for keeper in await asyncio.to_thread(_over_memory_limit, limits):
                limited[keeper].kill_for_memory()
            for keeper in await asyncio.to_thread(_over_process_limit, limits, self._most):
                limited[keeper].kill_for_number()

    def _limited(self) -> dict[int, _Process]:
        return {running.keeper: running for running in self._running if running.plan.limit is not None}


class _Process:
    """One container as a process."""

    def __init__(self, *, child: Child, plan: ProcessPlan, nursery: Nursery) -> None:
        self.plan = plan
        self._child = child
        self._nursery = nursery
        self._is_out_of_memory = False
        self._checks: set[Child] = set()
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._following: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def keeper(self) -> int:
        """Return the process below which all of it is."""
        return self._child.keeper or self._child.pid

    @property
    def addresses(self) -> Mapping[int, tuple[str, int]]:
        return self.plan.addresses

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def terminate(self) -> None:
        number = self.plan.image.stop_signal
        if self.plan.container.has_init or heeds(self.pid, number):
            self._child.send(number)

    async def kill(self) -> None:
        self._child.kill()

    def kill_for_memory(self) -> None:
        if self._child.is_running:
            self._is_out_of_memory = True
            self._child.kill()

    def kill_for_number(self) -> None:
        """A container could start no more of them; here what the user of this machine has is counted, and root not at all."""
        if self._child.is_running:
            self.plan.container.output(
                f"[local AWS] killed: a container has at most {self.plan.most} processes"
            )
            self._child.kill()

    async def run_check(self, command: Sequence[str], *, seconds: float) -> tuple[int, str]:
        if not self._child.is_running:
            return _NOT_FOUND, "the container is not running"
        tail = Tail(_CHECK_OUTPUT)
        try:
            async with asyncio.timeout(seconds):
                return await self._checked(command, tail), tail.text
        except TimeoutError:
            return CHECK_TIMED_OUT, f"Health check exceeded timeout ({seconds:g}s): {tail.text}"
        except (ExecError, StartError) as error:
            return _NOT_FOUND, str(error)

    async def _checked(self, command: Sequence[str], tail: Tail) -> int:
        argv = self.plan.resolved(check_argv([self.plan.local(word) for word in command]))
        # One every few seconds in each container, and quicker where the clock is: most of what an idle local AWS costs.
        program = replace(
            self.plan.program(argv, stdout=tail.take, stderr=tail.take), is_brief=True, is_whole=False
        )
        check = await self._nursery.start(program)
        self._checks.add(check)
        try:
            if not self._child.is_running:
                check.kill()
            return await check.wait()
        finally:
            check.kill()
            self._checks.discard(check)

    def usage(self) -> Usage:
        if self._child.is_running:
            return usage.measure(self.keeper, is_kept=True)
        return Usage(memory_bytes=0, cpu_seconds=self._child.cpu_seconds)

    def follow(self, lines: Sequence[Lines], ended: Callable[[_Process], None]) -> None:
        self._following = asyncio.create_task(self._follow(lines, ended))

    async def _follow(self, lines: Sequence[Lines], ended: Callable[[_Process], None]) -> None:
        code = await self._child.wait()
        try:
            for check in self._checks:  # a container takes everything in it along
                check.kill()
            for line in lines:
                line.finish()
        finally:  # what takes the last line may fail; the container has ended all the same
            ended(self)
            is_out_of_memory = self._is_out_of_memory and code == _SIGKILL
            self._exit.set_result(Exit(code=code, is_out_of_memory=is_out_of_memory))


def _check(image: Image) -> None:
    """Raise StartError for an image that this machine cannot run as a process."""
    if not image.is_builtin:
        raise StartError(
            "it is an image with an operating system of its own, which a process of this machine cannot be: "
            "install podman or docker and run `local up` without --tasks, or build it by `build --builder builtin`"
        )
    here = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    made = image.labels.get(PYTHON, here)
    if made != here:
        raise StartError(
            f"exec format error: the image was built for {made}, and this machine's Python is {here}: build it again here"
        )


def _make_python(folder: Path) -> Path:
    """Return this machine's Python without the packages that are installed here: a task has those of its image alone."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    return folder / "bin" / "python"


def _over_memory_limit(limits: Mapping[int, int]) -> list[int]:
    """Return the keepers below which more bytes of memory are used than may be."""
    return [
        keeper
        for keeper, limit in limits.items()
        if usage.measure(keeper, is_kept=True).memory_bytes > limit
        and usage.exact_memory(keeper, is_kept=True) > limit
    ]


def _over_process_limit(keepers: Iterable[int], most: int) -> list[int]:
    """Return the keepers below which there are too many processes."""
    return [keeper for keeper in keepers if usage.count_below(keeper) > most]

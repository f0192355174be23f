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
from mclass_tf.local.containers.child_processes import Child, ChildProcesses, ExecError
from mclass_tf.local.containers.driver import (
    CHECK_TIMED_OUT,
    MOST_PROCESSES,
    ContainerSpec,
    ContainerStartError,
    Exit,
    Images,
    PullError,
    RunningContainer,
    Usage,
    check_argv,
)
from mclass_tf.local.containers.image import PYTHON, Image, read
from mclass_tf.local.containers.output import Lines, Tail
from mclass_tf.local.containers.process_spec import ProcessSpec, cannot_execute
from mclass_tf.local.containers.signals import would_receive
from mclass_tf.local.containers.threads import in_thread
from mclass_tf.local.containers.unpack import remove, unpack

_LONGEST_NAME = 100  # characters of a container's name that its folder's name contains
_MEASURED_EVERY = 0.25  # seconds
_NOT_FOUND = 127  # a shell's status for a missing command
_SIGKILL = 128 + signal.SIGKILL
_CHECK_OUTPUT = 4096  # bytes, as docker keeps


class ProcessDriver:
    """Tasks share the files of their image. Each task has its own address and folder for temporary files."""

    name = "process"

    def __init__(self, *, home: Path, images: Images, max_processes: int = MOST_PROCESSES) -> None:
        """Remove the files of earlier instances, which may be incomplete. A container may have `max_processes`."""
        self._max_processes = max_processes
        self._folder = home / "tasks"
        self._images = images
        remove(self._folder)
        for name in ("images", "running"):
            (self._folder / name).mkdir(mode=0o700, parents=True)
        self._children = ChildProcesses()
        self._addresses = Addresses()
        self._pulls: dict[str, asyncio.Task[Image]] = {}
        self._python: asyncio.Task[Path] | None = None
        self._running: set[_Process] = set()
        self._measuring: asyncio.Task[None] | None = None
        self._is_closed = False

    async def pull(self, manifest_digest: str) -> None:
        await self._ensure_pulled(manifest_digest)

    async def start(self, container: ContainerSpec) -> RunningContainer:
        if self._is_closed:
            raise ContainerStartError("the local AWS is going down")
        image = await self._ensure_pulled(container.manifest_digest)
        _check(image)
        python = await self._interpreter()
        try:
            addresses = self._addresses.take(container.ports)
        except NoAddressError as error:
            raise ContainerStartError(str(error)) from None
        name = f"{container.name[:_LONGEST_NAME]}-{uuid.uuid4().hex[:8]}"
        spec = ProcessSpec(
            image=image,
            container=container,
            root=self._root(image.digest),
            python=python,
            work_folder=self._folder / "running" / name,
            addresses=addresses,
            max_processes=self._max_processes,
        )
        try:
            return await self._start(spec)
        except BaseException:
            self._forget(spec)
            raise

    async def close(self) -> None:
        self._is_closed = True
        await self._children.close()
        for running in tuple(self._running):
            await running.wait()
        for task in (self._measuring, self._python, *self._pulls.values()):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await asyncio.to_thread(remove, self._folder)

    async def _ensure_pulled(self, digest: str) -> Image:
        """Unpack the image once. Retry if that failed."""
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
            draft.chmod(0o700)  # macOS cannot rename a read-only folder
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
        """Return the Python for tasks, which is created once."""
        if self._python is None:
            self._python = asyncio.create_task(in_thread(_make_python, self._folder / "python"))
        try:
            return await asyncio.shield(self._python)
        except OSError as error:
            self._python = None
            raise ContainerStartError(f"{self._folder / 'python'} cannot be made: {error.strerror}") from None

    async def _start(self, spec: ProcessSpec) -> _Process:
        try:
            spec.work_folder.mkdir(mode=0o700)
            lines = [Lines(spec.container.output) for _ in range(2)]
            out, err = lines
            program = spec.program(spec.argv, stdout=out.take, stderr=err.take)
            child = await self._children.start(program)
        except ExecError as error:
            raise ContainerStartError(cannot_execute(spec.argv[0], str(error))) from None
        except OSError as error:
            raise ContainerStartError(f"{spec.work_folder} cannot be made: {error.strerror}") from None
        process = _Process(child=child, spec=spec, children=self._children)
        self._running.add(process)
        process.follow(lines, self._ended)
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure())
        return process

    def _ended(self, process: _Process) -> None:
        self._running.discard(process)
        self._forget(process.spec)

    def _forget(self, spec: ProcessSpec) -> None:
        self._addresses.give_back(spec.addresses)
        remove(spec.work_folder)

    async def _measure(self) -> None:
        """Kill containers over their memory or process limit, for as long as any has a limit."""
        while self._limited():
            await asyncio.sleep(_MEASURED_EVERY)
            limited = self._limited()
            limits = {supervisor: running.spec.limit or 0 for supervisor, running in limited.items()}
            for supervisor in await asyncio.to_thread(_over_memory_limit, limits):
                limited[supervisor].kill_for_memory()
            for supervisor in await asyncio.to_thread(_over_process_limit, limits, self._max_processes):
                limited[supervisor].kill_for_processes()

    def _limited(self) -> dict[int, _Process]:
        return {running.supervisor: running for running in self._running if running.spec.limit is not None}


class _Process:
    """A container that runs as a process."""

    def __init__(self, *, child: Child, spec: ProcessSpec, children: ChildProcesses) -> None:
        self.spec = spec
        self._child = child
        self._children = children
        self._is_out_of_memory = False
        self._checks: set[Child] = set()
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._following: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def supervisor(self) -> int:
        """Return the process id whose descendants are the container."""
        return self._child.supervisor or self._child.pid

    @property
    def addresses(self) -> Mapping[int, tuple[str, int]]:
        return self.spec.addresses

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def terminate(self) -> None:
        number = self.spec.image.stop_signal
        if self.spec.container.has_init or would_receive(self.pid, number):
            self._child.send(number)

    async def kill(self) -> None:
        self._child.kill()

    def kill_for_memory(self) -> None:
        if self._child.is_running:
            self._is_out_of_memory = True
            self._child.kill()

    def kill_for_processes(self) -> None:
        """In a container, fork would fail at the limit. Here the limit counts all processes of the user, and spares root."""
        if self._child.is_running:
            self.spec.container.output(
                f"[local AWS] killed: a container has at most {self.spec.max_processes} processes"
            )
            self._child.kill()

    async def run_check(self, command: Sequence[str], *, seconds: float) -> tuple[int, str]:
        if not self._child.is_running:
            return _NOT_FOUND, "the container is not running"
        tail = Tail(_CHECK_OUTPUT)
        try:
            async with asyncio.timeout(seconds):
                return await self._run_check(command, tail), tail.text
        except TimeoutError:
            return CHECK_TIMED_OUT, f"Health check exceeded timeout ({seconds:g}s): {tail.text}"
        except (ExecError, ContainerStartError) as error:
            return _NOT_FOUND, str(error)

    async def _run_check(self, command: Sequence[str], tail: Tail) -> int:
        argv = self.spec.resolved(check_argv([self.spec.localized(word) for word in command]))
        # Health checks are most of the cost of an idle local AWS, so they start without launcher and supervisor.
        program = replace(
            self.spec.program(argv, stdout=tail.take, stderr=tail.take), is_direct=True, is_supervised=False
        )
        check = await self._children.start(program)
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
            return usage.measure(self.supervisor, is_supervised=True)
        return Usage(memory_bytes=0, cpu_seconds=self._child.cpu_seconds)

    def follow(self, lines: Sequence[Lines], ended: Callable[[_Process], None]) -> None:
        self._following = asyncio.create_task(self._follow(lines, ended))

    async def _follow(self, lines: Sequence[Lines], ended: Callable[[_Process], None]) -> None:
        code = await self._child.wait()
        try:
            for check in self._checks:  # the end of a container ends everything in it
                check.kill()
            for line in lines:
                line.finish()
        finally:  # passing on the last line may fail, but the container has ended
            ended(self)
            is_out_of_memory = self._is_out_of_memory and code == _SIGKILL
            self._exit.set_result(Exit(code=code, is_out_of_memory=is_out_of_memory))


def _check(image: Image) -> None:
    """Raise ContainerStartError if this machine cannot run the image as a process."""
    if not image.is_builtin:
        raise ContainerStartError(
            "it is an image with an operating system of its own, which a process of this machine cannot be: "
            "install podman or docker and run `local up` without --tasks, or build it by `build --builder builtin`"
        )
    here = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    made = image.labels.get(PYTHON, here)
    if made != here:
        raise ContainerStartError(
            f"exec format error: the image was built for {made}, and this machine's Python is {here}: build it again here"
        )


def _make_python(folder: Path) -> Path:
    """Create a Python without the packages installed here: a task sees only those of its image."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    return folder / "bin" / "python"


def _over_memory_limit(limits: Mapping[int, int]) -> list[int]:
    """Return the supervisors of containers that exceed their memory limit in bytes."""
    return [
        supervisor
        for supervisor, limit in limits.items()
        if usage.measure(supervisor, is_supervised=True).memory_bytes > limit
        and usage.exact_memory(supervisor, is_supervised=True) > limit
    ]


def _over_process_limit(supervisors: Iterable[int], max_processes: int) -> list[int]:
    """Return the supervisors of containers with too many processes."""
    return [supervisor for supervisor in supervisors if usage.count_below(supervisor) > max_processes]

"""Runs images as containers, by podman or docker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mclass_tf.local.containers import archive, usage
from mclass_tf.local.containers.child_processes import Child, ChildProcesses, ExecError, Program
from mclass_tf.local.containers.driver import (
    CHECK_TIMED_OUT,
    ContainerSpec,
    ContainerStartError,
    Exit,
    Images,
    PullError,
    RunningContainer,
    ServeTask,
    Usage,
    check_argv,
)
from mclass_tf.local.containers.engine import ContainerEngine
from mclass_tf.local.containers.gateway_listener import GatewayListener
from mclass_tf.local.containers.image import Image, read
from mclass_tf.local.containers.output import Lines, Tail
from mclass_tf.local.containers.threads import in_thread
from mclass_tf.local.containers.variables import VariableError, Variables

_OUTPUT = 4096  # bytes of a health check's output, as in docker
_DOCUMENT = 4 * 1024 * 1024
_LONGEST_NAME = 100  # characters of the container's name that podman's name for it contains
_POLL = 0.1  # seconds
_MEASURED_EVERY = 0.25
_NOT_FOUND = 127  # a shell's status for a missing command
_SIGKILL = 128 + signal.SIGKILL
_NEVER = "0001-01-01"
_NEAR_LIMIT = 0.8  # of the limit: the kernel may kill between two measurements
_HOST_NAME = "aws.localhost"  # which the local AWS accepts as a name of this machine
_OF_THE_LOCAL_AWS = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ENDPOINT_URL", "ECS_CONTAINER_METADATA_URI")


class ContainerDriver:
    """Runs containers with podman or docker. Removes containers and images that earlier instances of the home have left.

    `url` is the endpoint of the local AWS. A container reaches it through its own port (`GatewayListener`).
    """

    def __init__(
        self, engine: ContainerEngine, *, folder: Path, images: Images, url: str, serve_task: ServeTask
    ) -> None:
        self.name = engine.name
        self._engine = engine
        self._folder = folder
        self._images = images
        self._url = url
        self._serve_task = serve_task
        self._children = ChildProcesses()
        self._commands = Commands(self._children, cwd=folder)
        self._loads: dict[str, asyncio.Task[Image]] = {}
        self._ready: asyncio.Task[str | None] | None = None
        self._running: set[_Container] = set()
        self._is_closed = False

    async def pull(self, manifest_digest: str) -> None:
        await self._ensure_loaded(manifest_digest)

    async def start(self, container: ContainerSpec) -> RunningContainer:
        if self._is_closed:
            raise ContainerStartError("the local AWS is going down")
        image = await self._ensure_loaded(container.manifest_digest)
        gateway = await self._ensure_prepared()
        name = f"mclass-tf-{container.name[:_LONGEST_NAME]}-{uuid.uuid4().hex[:12]}"
        listener = self._listen(gateway, container)
        running = _Container(
            name=name,
            spec=container,
            image=image,
            engine=self._engine,
            commands=self._commands,
            listener=listener,
        )
        try:
            await self._create(container, name=name, listener=listener)
            await running.start(self._children)
        except BaseException as error:
            if listener is not None:
                listener.close()
            await self._commands.run(self._engine.remove(name))
            if isinstance(error, CommandError | ExecError | VariableError):
                raise ContainerStartError(str(error)) from None
            raise
        self._running.add(running)
        running.follow(self._running.discard)
        return running

    def _listen(self, gateway: str | None, container: ContainerSpec) -> GatewayListener | None:
        if gateway is None:
            return None
        try:
            return GatewayListener(gateway, task_id=container.task_id, serve_task=self._serve_task)
        except OSError as error:
            raise ContainerStartError(f"no port of {gateway} can be had: {error.strerror}") from None

    async def _create(self, container: ContainerSpec, *, name: str, listener: GatewayListener | None) -> None:
        """Create the container. A private temporary file contains the values of variables, never a command line."""
        environment, hosts = _reachable(container.environment, listener, url=self._url)
        variables = Variables.of(environment)
        file = self._folder / f"{uuid.uuid4().hex}.env"
        create = self._engine.create(
            container, name=name, variables=variables, variables_file=str(file), hosts=hosts
        )
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
                written.write(variables.text)
            await self._commands.must(create, env=variables.inherited)
        except OSError as error:
            raise ContainerStartError(f"{file} cannot be written: {error.strerror}") from None
        finally:
            file.unlink(missing_ok=True)

    async def close(self) -> None:
        self._is_closed = True
        tasks = [*self._loads.values(), *([self._ready] if self._ready else [])]
        for task in tasks:
            task.cancel()
            await asyncio.wait([task])
        if self._ready is not None:
            await self._remove_leftovers()
            for running in tuple(self._running):
                await running.wait()
        await self._children.close()

    async def _ensure_loaded(self, digest: str) -> Image:
        load = self._loads.get(digest)
        if load is None or (load.done() and (load.cancelled() or load.exception() is not None)):
            load = self._loads[digest] = asyncio.create_task(self._load(digest))
        return await asyncio.shield(load)

    async def _load(self, digest: str) -> Image:
        await self._ensure_prepared()
        image = await asyncio.to_thread(read, self._images, digest)
        path = self._folder / f"{digest.removeprefix('sha256:')}.tar"
        try:
            reference = self._engine.reference(digest)
            await in_thread(archive.write, image, images=self._images, path=path, reference=reference)
            await self._commands.must(self._engine.load(str(path)))
        except (CommandError, ExecError, OSError) as error:
            raise PullError(f"{self.name} cannot load the image: {error}") from None
        finally:
            path.unlink(missing_ok=True)
        return image

    async def _ensure_prepared(self) -> str | None:
        """Once, remove leftovers of earlier instances, and return the address at which containers reach this machine."""
        if self._ready is None:
            self._ready = asyncio.create_task(self._prepare())
        return await asyncio.shield(self._ready)

    async def _prepare(self) -> str | None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._remove_leftovers()
        self._children.run_at_exit(self._engine.remove_all())
        if sys.platform != "linux":
            return None
        try:
            if (
                "rootless" in (answer := await self._commands.must(self._engine.rootless()))
                or "true" in answer
            ):
                return None
            gateways = (await self._commands.must(self._engine.gateway())).split()
        except (CommandError, ExecError):
            return None
        return gateways[0] if gateways else None

    async def _remove_leftovers(self) -> None:
        for listing, removal in (
            (self._engine.containers(), self._engine.remove),
            (self._engine.images(), self._engine.remove_images),
        ):
            with contextlib.suppress(CommandError, ExecError):
                if names := (await self._commands.must(listing)).split():
                    await self._commands.must(removal(*names))


class _Container:
    """A container of podman or docker."""

    def __init__(
        self,
        *,
        name: str,
        spec: ContainerSpec,
        image: Image,
        engine: ContainerEngine,
        commands: Commands,
        listener: GatewayListener | None,
    ) -> None:
        self._name = name
        self._spec = spec
        self._image = image
        self._engine = engine
        self._commands = commands
        self._listener = listener
        self._client: Child | None = None
        self._pid = 0
        self._highest = Usage(memory_bytes=0, cpu_seconds=0.0)
        self._was_killed = False
        self._addresses: dict[int, tuple[str, int]] = {}
        self._lines = (Lines(spec.output), Lines(self._take_error_line))
        self._held: list[str] | None = []
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._following: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None

    @property
    def addresses(self) -> Mapping[int, tuple[str, int]]:
        return self._addresses

    async def start(self, children: ChildProcesses) -> None:
        """Start the container; raise CommandError with the engine's message."""
        out, err = self._lines
        program = self._commands.program(self._engine.start(self._name), stdout=out.take, stderr=err.take)
        self._client = await children.start(program)
        while True:
            is_running = self._client.is_running
            inspected = await self._inspect()
            if not str(inspected["State"].get("StartedAt", _NEVER)).startswith(_NEVER):
                break
            if not is_running:
                await self._client.wait()
                err.finish()
                message = _engine_error(" ".join(self._held or ())) or str(
                    inspected["State"].get("Error", "")
                )
                raise CommandError(message or "the engine does not say why")
            await asyncio.sleep(_POLL)
        for line in self._held or ():
            self._spec.output(line)
        self._held = None
        self._pid = int(inspected["State"].get("Pid") or 0)
        self._addresses = _published(inspected, self._spec.ports)

    def follow(self, ended: Callable[[_Container], None]) -> None:
        self._following = asyncio.create_task(self._follow(ended))
        self._measuring = asyncio.create_task(self._measure())

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def terminate(self) -> None:
        if not self._exit.done():
            await self._commands.run(self._engine.signal(self._name, self._image.stop_signal))

    async def kill(self) -> None:
        if not self._exit.done():
            self._was_killed = True
            await self._commands.run(self._engine.signal(self._name, signal.SIGKILL))

    async def run_check(self, command: Sequence[str], *, seconds: float) -> tuple[int, str]:
        argv = self._engine.execute(self._name, tuple(check_argv(command)))
        try:
            async with asyncio.timeout(seconds):
                return await self._commands.run(argv)
        except TimeoutError:
            return CHECK_TIMED_OUT, f"Health check exceeded timeout ({seconds:g}s)"
        except ExecError as error:
            return _NOT_FOUND, str(error)

    def usage(self) -> Usage:
        if not self._exit.done() and (measured := self._measured()).memory_bytes:
            return measured
        return Usage(memory_bytes=0, cpu_seconds=self._highest.cpu_seconds)

    def _measured(self) -> Usage:
        """Return what its processes use; zero if they run in a virtual machine, where they are invisible."""
        if sys.platform == "linux" and self._pid:
            return usage.measure(self._pid)
        return Usage(memory_bytes=0, cpu_seconds=0.0)

    def _take_error_line(self, line: str) -> None:
        """Pass on a line of standard error. Before the container runs, keep it: it is the engine's own message."""
        if self._held is None:
            self._spec.output(line)
        else:
            self._held.append(line)

    async def _inspect(self) -> dict[str, Any]:
        (inspected,) = json.loads(await self._commands.must(self._engine.inspect(self._name)))
        return dict(inspected)

    async def _measure(self) -> None:
        while not self._exit.done():
            measured = await asyncio.to_thread(self._measured)
            self._highest = Usage(
                memory_bytes=max(measured.memory_bytes, self._highest.memory_bytes),
                cpu_seconds=max(measured.cpu_seconds, self._highest.cpu_seconds),
            )
            await asyncio.sleep(_MEASURED_EVERY)

    async def _follow(self, ended: Callable[[_Container], None]) -> None:
        """Set the exit when the container ends, even if the engine fails, because others wait for it."""
        result = Exit(code=await self._client.wait() if self._client else 0)
        try:
            for line in self._lines:
                line.finish()
            with contextlib.suppress(CommandError, ExecError):  # it is being removed
                result = self._exit_of((await self._inspect())["State"])
            with contextlib.suppress(ExecError):  # `close` or the next instance removes it
                await self._commands.run(self._engine.remove(self._name))
        finally:
            if self._measuring is not None:
                self._measuring.cancel()
            if self._listener is not None:
                self._listener.close()
            ended(self)
            self._exit.set_result(result)

    def _exit_of(self, state: Mapping[str, Any]) -> Exit:
        code = int(state["ExitCode"])
        return Exit(code=code, is_out_of_memory=bool(state.get("OOMKilled")) or self._ran_out_of_memory(code))

    def _ran_out_of_memory(self, code: int) -> bool:
        """Detect an out-of-memory kill that podman misses (conmon with cgroups v1)."""
        limit = (self._spec.memory_mib or 0) * 2**20
        is_near = self._highest.memory_bytes >= _NEAR_LIMIT * limit
        return bool(limit) and code == _SIGKILL and not self._was_killed and is_near


class CommandError(Exception):
    """podman or docker failed. The message is its own."""


@dataclass(frozen=True)
class Commands:
    """Runs commands of podman or docker, which are killed if this process dies."""

    children: ChildProcesses
    cwd: Path

    def program(
        self,
        argv: tuple[str, ...],
        *,
        stdout: Callable[[bytes], None],
        stderr: Callable[[bytes], None],
        env: Mapping[str, str] | None = None,
    ) -> Program:
        """Return a program with this process's environment, which configures the engine (CONTAINERS_CONF, DOCKER_HOST, …)."""
        return Program(
            argv=argv, cwd=self.cwd, env={**os.environ, **(env or {})}, stdout=stdout, stderr=stderr
        )

    async def must(self, argv: tuple[str, ...], *, env: Mapping[str, str] | None = None) -> str:
        """Return the standard output of a command; raise CommandError."""
        out, err = Tail(_DOCUMENT), Tail(_OUTPUT)
        status = await self._wait(self.program(argv, stdout=out.take, stderr=err.take, env=env))
        if status != 0:
            raise CommandError(_engine_error(err.text) or f"{' '.join(argv[:2])} ended with {status}")
        return out.text

    async def run(self, argv: tuple[str, ...]) -> tuple[int, str]:
        """Return the exit status and the end of the output."""
        tail = Tail(_OUTPUT)
        return await self._wait(self.program(argv, stdout=tail.take, stderr=tail.take)), tail.text

    async def _wait(self, program: Program) -> int:
        child = await self.children.start(program)
        try:
            return await child.wait()
        finally:
            child.kill()


def _reachable(
    environment: Mapping[str, str], listener: GatewayListener | None, *, url: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Replace the address of the local AWS in variables with the container's; also return the host names to add.

    If the container cannot reach the local AWS, the variables that point there are dropped. Other loopback addresses stay: in a
    container they are its own, as on AWS.
    """
    here = re.compile(rf"http://(?:127\.0\.0\.1|localhost):{urlsplit(url).port}\b")
    if listener is None:
        kept = {
            name: value
            for name, value in environment.items()
            if not (name.startswith(_OF_THE_LOCAL_AWS) and here.search(value))
        }
        return kept, {}
    there = f"http://{_HOST_NAME}:{listener.port}"
    return {name: here.sub(there, value) for name, value in environment.items()}, {
        _HOST_NAME: listener.gateway
    }


def _published(inspected: Mapping[str, Any], ports: Sequence[int]) -> dict[int, tuple[str, int]]:
    bindings = inspected["NetworkSettings"]["Ports"] or {}
    return {
        port: (entry["HostIp"], int(entry["HostPort"]))
        for port in ports
        for entry in (bindings.get(f"{port}/tcp") or ())[:1]
    }


def _engine_error(text: str) -> str:
    """Return the engine's message on one line, without its prefix."""
    return " ".join(text.split()).removeprefix("Error: ")

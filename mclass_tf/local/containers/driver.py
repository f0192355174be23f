"""The interface of the drivers that run containers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

CHECK_TIMED_OUT = -1
"""The status of a health check that timed out, as in docker."""

MOST_PROCESSES = 1024
"""Processes and threads that a container may have. Fargate has a limit too, but does not document it."""


class PullError(Exception):
    """The image cannot be pulled. The message is the text in brackets after ECS's CannotPullContainerError."""


class ContainerStartError(Exception):
    """The container cannot be started. The message is the text after ECS's CannotStartContainerError."""


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """The container to run.

    `environment` contains the variables from the task definition, its secrets and ECS. They override the image's variables.
    `ports` are the container ports. Above `memory_mib` the container is killed; None means no limit. `has_init` runs an init
    process as process 1 (initProcessEnabled). `output` is called in the driver's event loop with each line of standard output and
    standard error, without its newline.
    """

    name: str
    task_id: str
    manifest_digest: str
    environment: Mapping[str, str]
    output: Callable[[str], None]
    command: Sequence[str] | None = None
    entry_point: Sequence[str] | None = None
    working_directory: str | None = None
    user: str | None = None
    is_root_read_only: bool = False
    writable_paths: Sequence[str] = ()
    ports: Sequence[int] = ()
    memory_mib: int | None = None
    cpu_units: int = 0
    has_init: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a container ended. `code` is as in a shell (137: SIGKILL, 143: SIGTERM)."""

    code: int
    is_out_of_memory: bool = False


@dataclass(frozen=True, kw_only=True)
class Usage:
    """`memory_bytes` in use now, and `cpu_seconds` since the start."""

    memory_bytes: int
    cpu_seconds: float


class RunningContainer(Protocol):
    """A started container. Methods may be called after it has ended; they do nothing then."""

    @property
    def addresses(self) -> Mapping[int, tuple[str, int]]:
        """Return its addresses on this machine by container port. They belong to this container while it runs."""

    async def wait(self) -> Exit:
        """Return after it has ended and all of its output was passed on."""

    async def terminate(self) -> None:
        """Send the image's stop signal, SIGTERM by default."""

    async def kill(self) -> None:
        """Send SIGKILL to all of its processes."""

    async def run_check(self, command: Sequence[str], *, seconds: float) -> tuple[int, str]:
        """Run a health check command ("CMD", …) in the container; return its exit status and the end of its output.

        The status is CHECK_TIMED_OUT if it takes longer than `seconds`.
        """

    def usage(self) -> Usage: ...


class Images(Protocol):
    """Source of image blobs: the registry's store."""

    def blob(self, digest: str) -> Path: ...


class TaskServer(Protocol):
    """Serves the local AWS to one task on a listening socket, with a thread per connection."""

    def handle_request(self) -> None:
        """Accept a waiting connection, and return at once."""

    def server_close(self) -> None:
        """Close the socket and all connections accepted from it."""


ServeTask = Callable[[socket.socket, str], TaskServer]
"""Serves the local AWS to the task with this id on a listening socket."""


class Driver(Protocol):
    """Runs containers. All coroutines run in one event loop."""

    name: str

    async def pull(self, manifest_digest: str) -> None:
        """Prepare the image, once even if called repeatedly; raise PullError."""

    async def start(self, container: ContainerSpec) -> RunningContainer:
        """Start a container; raise ContainerStartError."""

    async def close(self) -> None:
        """Kill running containers and remove unpacked images."""


def check_argv(command: Sequence[str]) -> Sequence[str]:
    """Return the argv of an ECS health check command: ["CMD", program, …] or ["CMD-SHELL", line]."""
    match command:
        case ("CMD-SHELL", *words):
            return ("/bin/sh", "-c", " ".join(words))
        case ("CMD", *words):
            return words
        case _:
            return command

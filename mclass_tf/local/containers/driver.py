"""What runs containers: a `Driver`, and what it is told and tells."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

CHECK_TIMED_OUT = -1
"""The status of a health check that was not done in time, as docker has it."""


MOST_PROCESSES = 1024
"""How many processes and threads a container may have. Fargate has a limit too, and does not say which."""


class PullError(Exception):
    """An image cannot be had; the message is what stands in brackets after ECS's CannotPullContainerError."""


class StartError(Exception):
    """A container cannot be started; the message is what stands after ECS's CannotStartContainerError."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """What to run.

    `environment` is all that the task definition, its secrets and ECS itself set; the image's own stands below it.
    `ports` are the container's; `memory_mib` the limit above which it is killed, None for none. `has_init`: ECS puts an init
    process in front of it (initProcessEnabled).
    `output` takes each line that it writes to standard output or error, without its end, in the driver's event loop.
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
    """How a container ended: as a shell counts (137: SIGKILL, 143: SIGTERM)."""

    code: int
    is_out_of_memory: bool = False


@dataclass(frozen=True, kw_only=True)
class Usage:
    """`memory_bytes` in use now; `cpu_seconds` since the start."""

    memory_bytes: int
    cpu_seconds: float


class Running(Protocol):
    """A container that was started. Every method may be called after its end, and does nothing then."""

    @property
    def addresses(self) -> Mapping[int, tuple[str, int]]:
        """Return by container port where it answers on this machine; nothing else listens there while it runs."""

    async def wait(self) -> Exit:
        """Return when it has ended and all of its output was handed over."""

    async def terminate(self) -> None:
        """Send the image's stop signal, by default SIGTERM."""

    async def kill(self) -> None:
        """Send SIGKILL to all of it."""

    async def run_check(self, command: Sequence[str], *, seconds: float) -> tuple[int, str]:
        """Run a health check's command ("CMD", …) inside; return its exit status and the end of its output.

        The status is CHECK_TIMED_OUT where it was not done in time.
        """

    def usage(self) -> Usage: ...


class Images(Protocol):
    """Where the bytes of images are: the registry's store."""

    def blob(self, digest: str) -> Path: ...


class Door(Protocol):
    """Answers a container on a listening socket, each connection in a thread of its own."""

    def handle_request(self) -> None:
        """Take a connection that waits, and return at once."""

    def server_close(self) -> None:
        """Close the socket, and every connection that came by it."""


OpenDoor = Callable[[socket.socket, str], Door]
"""Opens the local AWS to the task of that id, on a socket that listens."""


class Driver(Protocol):
    """Runs containers in one way. All coroutines run in one event loop."""

    name: str

    async def pull(self, manifest_digest: str) -> None:
        """Make the image ready to be started, once however often it is asked for; raise PullError."""

    async def start(self, container: Container) -> Running:
        """Start it; raise StartError."""

    async def close(self) -> None:
        """Kill what still runs and remove what was unpacked."""


def check_argv(command: Sequence[str]) -> Sequence[str]:
    """Return what a health check's command runs: ECS has ["CMD", program, …] and ["CMD-SHELL", line]."""
    match command:
        case ("CMD-SHELL", *words):
            return ("/bin/sh", "-c", " ".join(words))
        case ("CMD", *words):
            return words
        case _:
            return command

"""Translates a container into a process of this machine: command, environment, working directory, addresses."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.local.containers.child_processes import Program
from mclass_tf.local.containers.driver import MOST_PROCESSES, ContainerSpec, ContainerStartError
from mclass_tf.local.containers.image import HOST_VARIABLE, PORT_VARIABLE, Image
from mclass_tf.local.containers.unpack import inside

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = re.compile(r"(/usr(/local)?/bin/)?python(3(\.\d+)?)?")
_OF_FILES = ("PYTHONPATH", "PYTHONPYCACHEPREFIX")
_NEEDED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # some builds of Python do not start without them
_HERE = r"(?<![\w.-])(?:127\.0\.0\.1|localhost|0\.0\.0\.0|\[::1\])"
_AND = r"""(:|['"]?[,\s]\s*)"""  # as in a URL, in a tuple, and between the words of `nc -z`


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """The process to run for a container. `root` is its unpacked image, `work_folder` its folder for temporary files."""

    image: Image
    container: ContainerSpec
    root: Path
    python: Path
    work_folder: Path
    addresses: Mapping[int, tuple[str, int]]
    max_processes: int = MOST_PROCESSES

    @property
    def limit(self) -> int | None:
        """Return the memory limit in bytes."""
        mib = self.container.memory_mib
        return None if mib is None else mib * 2**20

    @property
    def argv(self) -> tuple[str, ...]:
        """Return the command with its program resolved. As in docker, an entry point override drops the image's command."""
        override = self._entry_point
        entry_point = self.image.entry_point if override is None else override
        own = self.image.command if override is None else ()
        command = own if self.container.command is None else self.container.command
        return self.resolved((*entry_point, *command))

    @property
    def _entry_point(self) -> Sequence[str] | None:
        """Return the entry point override. As in Docker, [""] clears the entry point."""
        override = self.container.entry_point
        return () if override is not None and tuple(override) == ("",) else override

    def resolved(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Return the command with the path of its program; raise ContainerStartError."""
        if not argv or not argv[0]:
            raise ContainerStartError("no command specified")
        name = argv[0]
        if _PYTHON.fullmatch(name):
            return (str(self.python), *argv[1:])
        if "/" in name and (own := inside(self.root, name)).is_file():
            return (str(own), *argv[1:])
        program = shutil.which(name, path=self._search_path)
        if program is None:
            raise ContainerStartError(cannot_execute(name, "executable file not found in $PATH"))
        return (program, *argv[1:])

    def program(
        self, argv: tuple[str, ...], *, stdout: Callable[[bytes], None], stderr: Callable[[bytes], None]
    ) -> Program:
        return Program(
            argv=argv,
            cwd=self._cwd,
            env=self._env,
            stdout=stdout,
            stderr=stderr,
            is_supervised=True,
            max_processes=self.max_processes,
        )

    def localized(self, word: str) -> str:
        """Replace the container's addresses in a word of a health check with the addresses on this machine."""
        for port, (host, here) in self.addresses.items():
            word = re.sub(rf"{_HERE}{_AND}{port}\b", rf"{host}\g<1>{here}", word)
        return word

    @property
    def _search_path(self) -> str:
        return f"{self.python.parent}:{_PATH}"

    @property
    def _cwd(self) -> Path:
        path = self.container.working_directory or self.image.working_directory
        folder = inside(self.root, path)
        if not folder.is_dir():
            raise ContainerStartError(f"the working directory {path} is not in the image")
        return folder

    @property
    def _env(self) -> dict[str, str]:
        """Return the environment, without the developer's own variables, and with paths inside the unpacked image."""
        env = {name: os.environ[name] for name in _NEEDED if name in os.environ}
        env |= {"TZ": "UTC", **self.image.env, **self.container.environment}
        for name in _OF_FILES:
            if name in env:
                env[name] = ":".join(self._below_root(entry) for entry in env[name].split(":"))
        temporary = str(self.work_folder)
        env |= {"PATH": self._search_path, "HOME": temporary, "TMPDIR": temporary}
        for host, port in tuple(self.addresses.values())[:1]:
            env[self.image.labels.get(HOST_VARIABLE, "MCLASS_HOST")] = host
            env[self.image.labels.get(PORT_VARIABLE, "MCLASS_PORT")] = str(port)
        return env

    def _below_root(self, entry: str) -> str:
        return str(inside(self.root, entry)) if entry.startswith("/") else entry


def cannot_execute(name: str, reason: str) -> str:
    """Return the message of containerd, which ECS quotes."""
    return (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
        f'unable to start container process: exec: "{name}": {reason}: unknown'
    )

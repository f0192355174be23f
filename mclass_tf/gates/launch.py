"""Starts a scanner, isolated from almost all settings of this machine and user."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from mclass_tf.gates import bootstrap

PINNED: Final[Mapping[str, str]] = {
    # One process: Checkov would fork one for each core to parse a few files.
    "CHECKOV_PARALLELIZATION_TYPE": "none",
    # Otherwise GitPython fails at import, because git is not on PATH.
    "GIT_PYTHON_REFRESH": "quiet",
    "LC_ALL": "C.UTF-8",
    # lark puts the user name into the file name of its cached parser.
    "LOGNAME": "mclass",
    # numpy would start a thread for each core.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # A fixed hash seed makes the order of sets, and so a scan, reproducible.
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
}
"""Fixed environment variables of every scan, whatever the shell has set. All other settings of Checkov are its defaults."""

# Without it, a Python that was built with a shared library does not start.
_NEEDED: Final = ("LD_LIBRARY_PATH",)


@dataclass(frozen=True, kw_only=True)
class ScannerLaunch:
    """The inputs of a scanner process: all its environment variables, a private folder, its end of the channel, and its output."""

    env: Mapping[str, str]
    folder: Path
    channel: socket.socket
    output: int


class ScannerProcess(Protocol):
    """A started scanner process."""

    def end(self, *, seconds: float) -> int:
        """Wait up to `seconds` for it to end, then kill it. Return its exit status, or minus the signal number."""


class StartScanner(Protocol):
    """Starts a scanner. Tests have a second implementation, which does not import Checkov anew each time."""

    def __call__(self, launch: ScannerLaunch, /) -> ScannerProcess: ...


def environment(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return all environment variables of a scanner with the private folder `folder`. `env` are the command's own."""
    needed = {name: env[name] for name in _NEEDED if name in env}
    return {**PINNED, **needed, "HOME": str(folder), "PATH": str(folder), "TMPDIR": str(folder)}


def argv(channel: int) -> tuple[str, ...]:
    """Return the command line. It keeps folders that others may write to off the module path."""
    return (sys.executable, "-P", "-s", bootstrap.__file__, str(channel), *_checkov_folders())


def _checkov_folders() -> tuple[str, ...]:
    """Return the folder that this process imports Checkov from if `-s` would omit it, such as the user's site folder."""
    spec = find_spec("checkov")
    folders = [Path(place).parent for place in (spec.submodule_search_locations or ())] if spec else []
    return tuple(str(folder) for folder in folders if folder.is_absolute() and not _is_cwd(folder))


def _is_cwd(folder: Path) -> bool:
    try:
        return folder.samefile(os.curdir)
    except OSError:
        return False


@dataclass(frozen=True)
class _Subprocess:
    process: subprocess.Popen[bytes]

    def end(self, *, seconds: float) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()


def start_process(launch: ScannerLaunch) -> ScannerProcess:
    """Start a scanner in its own session, so that an interrupt at the terminal reaches only the command."""
    channel = launch.channel.fileno()
    process = subprocess.Popen(
        argv(channel),
        cwd=launch.folder,
        env=dict(launch.env),
        stdin=subprocess.DEVNULL,
        stdout=launch.output,
        stderr=launch.output,
        pass_fds=[channel],
        start_new_session=True,
    )
    return _Subprocess(process)

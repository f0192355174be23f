"""How a scanner is started: what it is given of this machine and this user, which is next to nothing."""

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
    # There is no git to look for.
    "GIT_PYTHON_REFRESH": "quiet",
    "LC_ALL": "C.UTF-8",
    # In the name of the file where lark keeps its parser.
    "LOGNAME": "mclass",
    # numpy would start a thread for each core.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Sets are walked in the same order each time: a scan can be repeated.
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
}
"""What is the same for every scan, whatever the shell has set: all other settings of Checkov are its defaults."""

# Without it a Python that was built with a shared library does not start.
_NEEDED: Final = ("LD_LIBRARY_PATH",)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a scanner gets: its whole environment, a private folder, its end of the channel, and where its output goes."""

    env: Mapping[str, str]
    folder: Path
    channel: socket.socket
    output: int


class Child(Protocol):
    """A scanner that was started."""

    def end(self, *, seconds: float) -> int:
        """Wait for its end for so long, then kill it; return its exit status, or minus the number of the signal."""


class Start(Protocol):
    """Starts a scanner; there is one way to, and another for tests, where Checkov is not imported anew each time."""

    def __call__(self, launch: Launch, /) -> Child: ...


def environment(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a scanner whose private folder is `folder`; `env` is the command's own."""
    needed = {name: env[name] for name in _NEEDED if name in env}
    return {**PINNED, **needed, "HOME": str(folder), "PATH": str(folder), "TMPDIR": str(folder)}


def argv(channel: int) -> tuple[str, ...]:
    """Return the command line: no folder that somebody else may write to is searched for modules."""
    return (sys.executable, "-P", "-s", bootstrap.__file__, str(channel), *_where_checkov_is())


def _where_checkov_is() -> tuple[str, ...]:
    """Return the folder that this process would import Checkov from: the user's own site, say, which `-s` leaves out."""
    spec = find_spec("checkov")
    folders = [Path(place).parent for place in (spec.submodule_search_locations or ())] if spec else []
    return tuple(str(folder) for folder in folders if folder.is_absolute() and not _is_here(folder))


def _is_here(folder: Path) -> bool:
    try:
        return folder.samefile(os.curdir)
    except OSError:
        return False


@dataclass(frozen=True)
class _Process:
    process: subprocess.Popen[bytes]

    def end(self, *, seconds: float) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()


def start_process(launch: Launch) -> Child:
    """Start a scanner, in a session of its own: an interrupt at the terminal is for the command."""
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
    return _Process(process)

"""Forks scanners from a process that has already imported Checkov, to save the seconds of the import.

A forked scanner has the same inputs (`mclass_tf.gates.launch`), folder and end as a new one, and Checkov is imported with every
scanner's environment variables. tests/gates/test_scanner.py tests the production way to start a scanner.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

from mclass_tf.gates import launch
from mclass_tf.gates.launch import ScannerLaunch, ScannerProcess
from mclass_tf.gates.scanner import Scanner

_ROOT = Path(__file__).parent.parent
_KEEP = _ROOT / ".mclass/tests/parser"
_LONGEST = 1 << 20
_INITIAL_ENV, _PYTHON = dict(os.environ), sys.executable
"""Environment variables and Python settings before any test changes them."""


@dataclass(frozen=True)
class ForkingStarter:
    """Starts scanners through the process at the other end of `control`."""

    control: socket.socket

    def __call__(self, launch: ScannerLaunch) -> ScannerProcess:
        reading, writing = os.pipe()
        request = {"env": dict(launch.env), "folder": str(launch.folder)}
        descriptors = [launch.channel.fileno(), launch.output, writing]
        socket.send_fds(self.control, [json.dumps(request).encode()], descriptors)
        os.close(writing)
        return _ForkedScanner(status=reading)


@dataclass(frozen=True)
class _ForkedScanner:
    """A forked scanner. `status` sends its process id, and then its exit status."""

    status: int

    def end(self, *, seconds: float) -> int:
        text = self._read_line()
        if not select.select([self.status], [], [], seconds)[0]:
            with suppress(ProcessLookupError):  # it has ended already
                os.kill(int(text), signal.SIGKILL)
        status = int(self._read_line())
        os.close(self.status)
        return status

    def _read_line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(self.status, 1)
            assert piece, "the process that scanners are forked from has ended"
            line += piece
        return line.decode()


@cache
def forking() -> ForkingStarter:
    """Return the starter of scanners for this process and its commands. The process behind it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = Path(tempfile.mkdtemp(prefix="mclass-tests-"))
    _KEEP.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with theirs:
        process = subprocess.Popen(
            [_PYTHON, "-s", "-m", "tests.scanners", str(theirs.fileno())],
            cwd=_ROOT,
            env=launch.environment(folder, _INITIAL_ENV),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # an interrupt at the terminal is for the tests
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ForkingStarter(ours)


def scanner() -> Scanner:
    """Return a scanner whose process is forked."""
    return Scanner(start=forking())


def _serve(control: socket.socket) -> None:
    """Fork a scanner for each request, until the control socket closes."""
    from mclass_tf.gates import serve  # noqa: PLC0415

    serve.import_checkov(str(_KEEP))
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _LONGEST, 3)
        if not message:
            shutil.rmtree(os.environ["HOME"], ignore_errors=True)
            return
        if os.fork() == 0:
            control.close()
            if os.fork() != 0:
                os._exit(0)  # orphans the next one, so that init reaps it
            _supervise(json.loads(message), *descriptors)
        os.wait()
        for descriptor in descriptors:
            os.close(descriptor)


def _supervise(request: Mapping[str, Mapping[str, str]], channel: int, output: int, status: int) -> NoReturn:
    """Run a scanner in a child process, and report its exit status."""
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _run_scanner(request, channel, output)
    os.close(channel)
    os.close(output)
    try:
        os.write(status, f"{pid}\n".encode())
        _, how = os.waitpid(pid, 0)
        os.write(status, f"{os.waitstatus_to_exitcode(how)}\n".encode())
    except BrokenPipeError:  # the client has gone; the scanner has seen its channel close, too
        pass
    os._exit(0)


def _run_scanner(request: Mapping[str, Mapping[str, str]], channel: int, output: int) -> NoReturn:
    from mclass_tf.gates import serve  # noqa: PLC0415

    os.setsid()
    for target in (1, 2):
        os.dup2(output, target)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(str(request["folder"]))
    tempfile.tempdir = None
    serve.serve(socket.socket(fileno=channel))


if __name__ == "__main__":
    gc.disable()
    _serve(socket.socket(fileno=int(sys.argv[1])))

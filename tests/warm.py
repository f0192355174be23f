"""Forks commands from a process that has already imported everything, to save the time of the imports.

`python -m mclass_tf` takes half a second for imports, and three more if it judges a plan and starts a Checkov process. That is
most of the cost of a test of a command. A forked command has its own environment variables, folder, streams and exit. Only its
modules are not loaded again, and its scanner is forked as well (tests/scanners.py). `CommandLine.argv` and
tests/unit/cli/test_cli.py start commands without forking.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from tests.scanners import ForkingStarter, forking

_ROOT = Path(__file__).parent.parent
_JUDGING = {"plan", "apply", "release", "rollback", "promote", "render", "destroy"}
"""Commands that may judge a plan and so need a scanner."""
_IGNORED = {"MCLASS_TF_HOME", "PYTEST_CURRENT_TEST"}
"""Variables that no import reads. (MOTO_ ones, which some tests set, are only for the server.)"""
_LONGEST = 1 << 20
_INITIAL_ENV, _PYTHON = dict(os.environ), sys.executable
"""Environment variables and Python settings before any test changes them."""


class CommandForker:
    """The process that commands are forked from. It ends with this one."""

    def __init__(self) -> None:
        self._environment = _without_ignored(_INITIAL_ENV)
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
        self._process = subprocess.Popen(
            [_PYTHON, "-m", "tests.warm", str(theirs.fileno())],
            cwd=_ROOT,
            env=_INITIAL_ENV,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # an interrupt at the terminal is for the tests
        )
        theirs.close()
        atexit.register(self._end)

    def _end(self) -> None:
        self._ours.close()
        self._process.wait()

    def differs(self, env: Mapping[str, str]) -> set[str]:
        """Return the variables that could make a command import something else than this process has."""
        ours, theirs = self._environment, _without_ignored(env)
        names = {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}
        return {name for name in names if name in theirs or not name.startswith(("AWS_", "TF_VAR_"))}

    def run(
        self, arguments: Sequence[str], *, env: Mapping[str, str], seconds: float
    ) -> tuple[int, str, str]:
        """Run a command to its end; return exit status, standard output and standard error.

        Raise subprocess.TimeoutExpired, with the output so far, if it takes longer than `seconds`; the command is killed.
        """
        request = {"arguments": list(arguments), "env": dict(env), "cwd": str(Path.cwd())}
        with _Pipe() as stdout, _Pipe() as stderr, _Pipe() as status:
            pipes = (stdout, stderr, status)
            descriptors = [pipe.writing for pipe in pipes]
            if not _JUDGING.isdisjoint(arguments):
                descriptors.append(forking().control.fileno())
            socket.send_fds(self._ours, [json.dumps(request).encode()], descriptors)
            for pipe in pipes:
                pipe.close_writing()
            try:
                is_over = _read(pipes, until=time.monotonic() + seconds)
            except BaseException:  # an interrupt, which does not reach the command
                _kill(status.text)
                raise
            if not is_over:
                _kill(status.text)
                raise subprocess.TimeoutExpired(
                    list(arguments), seconds, bytes(stdout.data), bytes(stderr.data)
                )
            assert status.text, "the process that commands are forked from has ended"
            return int(status.text.split()[1]), stdout.text, stderr.text


def _kill(status: str) -> None:
    if status:
        with suppress(ProcessLookupError):  # it has ended already
            os.kill(int(status.split(maxsplit=1)[0]), signal.SIGKILL)


def _without_ignored(env: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in env.items() if name not in _IGNORED and not name.startswith("MOTO_")
    }


class _Pipe:
    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.data = bytearray()
        self._is_writing_open = True

    @property
    def text(self) -> str:
        return self.data.decode()

    def close_writing(self) -> None:
        if self._is_writing_open:
            self._is_writing_open = False
            os.close(self.writing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_writing()
        os.close(self.reading)


def _read(pipes: Sequence[_Pipe], *, until: float) -> bool:
    """Read all pipes to their ends; return False on timeout."""
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe.reading, selectors.EVENT_READ, pipe)
        while selector.get_map():
            left = until - time.monotonic()
            if left <= 0:
                return False
            for key, _ in selector.select(left):
                piece = os.read(key.fd, 65536)
                key.data.data += piece
                if not piece:
                    selector.unregister(key.fd)
    return True


@dataclass(frozen=True)
class _Request:
    arguments: Sequence[str]
    env: Mapping[str, str]
    cwd: str


def _serve(control: socket.socket) -> None:
    """Fork a process for each request, until the control socket closes."""
    _import_commands()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _LONGEST, 4)
        if not message:
            return
        request = _Request(**json.loads(message))
        if os.fork() == 0:
            control.close()
            if os.fork() != 0:
                os._exit(0)  # orphans the next one, so that init reaps it
            _supervise(request, *descriptors)
        else:
            os.wait()
        for descriptor in descriptors:
            os.close(descriptor)


def _supervise(request: _Request, stdout: int, stderr: int, status: int, *scanners: int) -> NoReturn:
    """Run the command in a child process, and report its exit status."""
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _run_command(request, stdout, stderr, *scanners)
    for descriptor in (stdout, stderr, *scanners):
        os.close(descriptor)
    try:
        os.write(status, f"{pid}\n".encode())
        _, how = os.waitpid(pid, 0)
        os.write(status, f"{os.waitstatus_to_exitcode(how)}\n".encode())
    except BrokenPipeError:  # the client has gone
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _run_command(request: _Request, stdout: int, stderr: int, *scanners: int) -> NoReturn:
    from mclass_tf import __main__ as command  # noqa: PLC0415

    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
        os.close(source)
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.env)
    sys.argv = [str(command.__file__), *request.arguments]
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(io.FileIO(2, "w", closefd=False)), line_buffering=True)
    for descriptor in scanners:
        _fork_scanners(socket.socket(fileno=descriptor))
    command.run()
    raise AssertionError("a command ends its process")


def _import_commands() -> None:
    import boto3  # noqa: F401, PLC0415

    import mclass_tf  # noqa: PLC0415

    for module in pkgutil.walk_packages(mclass_tf.__path__, "mclass_tf."):
        if module.name.split(".")[1] in {"aws", "cli", "flows", "gates", "image", "rollout", "verify"}:
            importlib.import_module(module.name)
    gc.freeze()


def _fork_scanners(control: socket.socket) -> None:
    from mclass_tf import gates  # noqa: PLC0415
    from mclass_tf.gates.checkov import CheckovGate  # noqa: PLC0415

    for gate in gates.GATES:
        if isinstance(gate, CheckovGate):
            gate.scanner.start = ForkingStarter(control)


if __name__ == "__main__":
    gc.disable()
    _serve(socket.socket(fileno=int(sys.argv[1])))

"""Starts child processes that cannot outlive this one, whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.local.containers.driver import MOST_PROCESSES
from mclass_tf.local.containers.output import Pipe, Tail, finish

_HERE = Path(__file__).parent
_ISOLATED = (
    sys.executable,
    "-I",
    "-S",
)  # neither the caller's variables nor installed packages: it starts at once
_REASON = 500  # bytes
_PATIENCE = (
    2.0  # seconds for output to end after its process, where something that left the group still holds it
)
_FATAL = 128  # a shell's status for the end by signal N is 128 + N


class ExecError(Exception):
    """The program could not be executed; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to execute: `argv[0]` is its path; the environment is all of it. Outputs are taken as they come.

    One that is brief is started without `launcher`, in half the time: only the warden ends it where this process dies. One that
    is whole is run by `keeper`: whatever it has started ends with it, and `most` is how many processes it may have.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    stdout: Callable[[bytes], None]
    stderr: Callable[[bytes], None]
    is_brief: bool = False
    is_whole: bool = False
    most: int = MOST_PROCESSES


class Child:
    """A process that leads a session and a group of its own. Nothing is sent to it once it has ended.

    `pid` is the program's; `keeper` that of the process that keeps all of it together, where there is one.
    """

    def __init__(self, process: subprocess.Popen[bytes], pipes: tuple[Pipe, ...], *, is_kept: bool) -> None:
        self.pid = process.pid
        self.keeper = process.pid if is_kept else None
        self.cpu_seconds = 0.0
        self._process = process
        self._pipes = pipes
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._watch()

    @property
    def is_running(self) -> bool:
        return not self._exited.done()

    async def wait(self) -> int:
        """Return its status, as a shell counts, when it has ended and all of its output was taken."""
        status = await asyncio.shield(self._exited)
        await finish(self._pipes, seconds=_PATIENCE)
        return status

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill all of it."""
        if not self.is_running:
            return
        if self.keeper is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.keeper, signal.SIGTERM)
        if self.pid != self.keeper:
            self._kill_group()

    def _kill_group(self) -> None:
        # macOS refuses a group of which only the dead leader is left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _watch(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # a kernel before 5.3, or a sandbox
                self._watch_descriptor(os.pidfd_open(self._process.pid))
                return
        threading.Thread(target=self._watch_in_thread, name=f"wait-{self._process.pid}", daemon=True).start()

    def _watch_descriptor(self, descriptor: int) -> None:
        def ended() -> None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            # Before its status is collected no other process or group can have its id.
            if self.keeper is None:
                self._kill_group()
            self._reaped(*os.wait4(self._process.pid, 0)[1:])

        self._loop.add_reader(descriptor, ended)

    def _watch_in_thread(self) -> None:
        _, status, usage = os.wait4(self._process.pid, 0)
        if self.keeper is None:
            self._kill_group()
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._reaped, status, usage)

    def _reaped(self, status: int, usage: object) -> None:
        self.cpu_seconds = getattr(usage, "ru_utime", 0.0) + getattr(usage, "ru_stime", 0.0)
        code = os.waitstatus_to_exitcode(status)
        if self.keeper not in {None, self.pid} and code < 0:
            self._kill_group()  # somebody has killed the keeper: its group is what is still known
        self._process.returncode = code
        self._exited.set_result(code if code >= 0 else _FATAL - code)


class Nursery:
    """Must be used in one thread, whose end the kernel takes for this process's."""

    def __init__(self) -> None:
        self._warden: subprocess.Popen[bytes] | None = None
        self._children: set[Child] = set()
        self._following: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def start(self, program: Program) -> Child:
        """Return when the program runs; raise ExecError. A start that is cancelled has ended what it started."""
        if self._is_closed:
            raise ExecError("the local AWS is going down")
        refusal = Tail(_REASON)
        try:
            child, report = self._forked(program, refusal)
        except OSError as error:
            raise ExecError(str(error.strerror or error)) from None
        try:
            await report.wait()
        except BaseException:
            report.close()
            child.kill()
            await child.wait()
            raise
        pid, _, reason = refusal.text.rpartition("\n")
        if reason or (program.is_whole and not pid):
            await child.wait()
            raise ExecError(reason or "it was ended before it began")
        if program.is_whole:
            child.pid = int(pid)
            if child.is_running:  # else it would be told of one that is never taken back
                self._tell_warden(f"+{child.pid}")
        return child

    def at_the_end(self, argv: tuple[str, ...]) -> None:
        """Have a command run when this process is gone, or has closed the nursery."""
        self._tell_warden(f"!{json.dumps(argv)}")

    async def close(self) -> None:
        """Kill what still runs, and return when it is gone."""
        self._is_closed = True
        for child in self._children:
            child.kill()
        if self._following:
            await asyncio.wait(self._following)
        if self._warden is not None and self._warden.stdin is not None:
            self._warden.stdin.close()
            await asyncio.to_thread(self._warden.wait)
            self._warden = None

    def _forked(self, program: Program, refusal: Tail) -> tuple[Child, Pipe]:
        """Return the child, and the pipe that ends when it has become the program or has said why not."""
        reading, writing = os.pipe()
        try:
            child = self._fork(program, report=writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return child, Pipe(reading, refusal.take)

    def _fork(self, program: Program, *, report: int) -> Child:
        self._require_warden()  # before there is a child that it could not be told of
        with _pipe() as (out, child_out), _pipe() as (err, child_err):
            process = subprocess.Popen(
                _command(program, report=report),
                cwd=program.cwd,
                env=dict(program.env),
                stdin=subprocess.DEVNULL,
                stdout=child_out,
                stderr=child_err,
                pass_fds=() if program.is_brief else (report,),
                start_new_session=True,
                umask=0o022,
            )
        self._tell_warden(f"{'~' if program.is_whole else '+'}{process.pid}")
        pipes = (Pipe(out, program.stdout), Pipe(err, program.stderr))
        child = Child(process, pipes, is_kept=program.is_whole)
        self._children.add(child)
        following = asyncio.create_task(self._follow(child))
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        return child

    async def _follow(self, child: Child) -> None:
        await child.wait()
        self._children.discard(child)
        for pid in {child.pid, child.keeper or child.pid}:
            self._tell_warden(f"-{pid}")

    def _require_warden(self) -> subprocess.Popen[bytes]:
        if self._warden is None:
            self._warden = _start_warden()
        return self._warden

    def _tell_warden(self, line: str) -> None:
        warden = self._require_warden()
        if warden.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                warden.stdin.write(f"{line}\n".encode())


def _command(program: Program, *, report: int) -> tuple[str, ...]:
    if program.is_brief:
        return program.argv
    script = "keeper.py" if program.is_whole else "launcher.py"
    most = (str(program.most),) if program.is_whole else ()
    return (*_ISOLATED, str(_HERE / script), str(os.getpid()), str(report), *most, *program.argv)


def _start_warden() -> subprocess.Popen[bytes]:
    # It is born with these signals blocked, and ignores them before it lets them through.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        return subprocess.Popen(
            (*_ISOLATED, str(_HERE / "warden.py")),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Return a pipe whose end for writing is the child's: ours is closed. The other one is closed where no child has come of it."""
    reading, writing = os.pipe()
    try:
        yield reading, writing
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)

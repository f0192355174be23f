"""Starts child processes that cannot outlive this process, even if it is killed."""

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
# Without the caller's variables and installed packages, to start fast.
_ISOLATED = (sys.executable, "-I", "-S")
_REASON = 500  # bytes
_PATIENCE = 2.0  # seconds to wait for the end of output that a process outside of the group still holds open
_FATAL = 128  # a shell's status for the end by signal N is 128 + N


class ExecError(Exception):
    """The program could not be executed. The message says why."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program to execute: `argv[0]` is its path, `env` its whole environment. Output is passed on as it arrives.

    `is_direct` skips `launcher`, which halves the time to start: only the reaper kills it if this process dies. `is_supervised`
    runs it under `supervisor`, which kills all of its descendants at its end and allows it `max_processes`.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    stdout: Callable[[bytes], None]
    stderr: Callable[[bytes], None]
    is_direct: bool = False
    is_supervised: bool = False
    max_processes: int = MOST_PROCESSES


class Child:
    """A process that leads its own session and process group. No signal is sent to it once it has ended.

    `pid` is the program's process id. `supervisor` is that of its supervisor, None if it has none.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], pipes: tuple[Pipe, ...], *, is_supervised: bool
    ) -> None:
        self.pid = process.pid
        self.supervisor = process.pid if is_supervised else None
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
        """Return its exit status, as in a shell, after it has ended and all of its output was passed on."""
        status = await asyncio.shield(self._exited)
        await finish(self._pipes, seconds=_PATIENCE)
        return status

    def send(self, number: int) -> None:
        """Send a signal to the process, not to its group."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it and its descendants."""
        if not self.is_running:
            return
        if self.supervisor is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.supervisor, signal.SIGTERM)
        if self.pid != self.supervisor:
            self._kill_group()

    def _kill_group(self) -> None:
        # macOS denies permission if only the dead leader of the group is left.
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
            # Until its status is collected, no other process or group can get its id.
            if self.supervisor is None:
                self._kill_group()
            self._record_exit(*os.wait4(self._process.pid, 0)[1:])

        self._loop.add_reader(descriptor, ended)

    def _watch_in_thread(self) -> None:
        _, status, usage = os.wait4(self._process.pid, 0)
        if self.supervisor is None:
            self._kill_group()
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._record_exit, status, usage)

    def _record_exit(self, status: int, usage: object) -> None:
        self.cpu_seconds = getattr(usage, "ru_utime", 0.0) + getattr(usage, "ru_stime", 0.0)
        code = os.waitstatus_to_exitcode(status)
        if self.supervisor not in {None, self.pid} and code < 0:
            self._kill_group()  # the supervisor was killed: only the group is still known
        self._process.returncode = code
        self._exited.set_result(code if code >= 0 else _FATAL - code)


class ChildProcesses:
    """Use it from one thread: the kernel kills the children when the thread that started them ends."""

    def __init__(self) -> None:
        self._reaper: subprocess.Popen[bytes] | None = None
        self._children: set[Child] = set()
        self._following: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def start(self, program: Program) -> Child:
        """Start a program; raise ExecError. A cancelled start kills what it has started."""
        if self._is_closed:
            raise ExecError("the local AWS is going down")
        refusal = Tail(_REASON)
        try:
            child, report = self._fork_with_report(program, refusal)
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
        if reason or (program.is_supervised and not pid):
            await child.wait()
            raise ExecError(reason or "it was ended before it began")
        if program.is_supervised:
            child.pid = int(pid)
            if child.is_running:  # else its id would never be removed again
                self._notify_reaper(f"+{child.pid}")
        return child

    def run_at_exit(self, argv: tuple[str, ...]) -> None:
        """Register a command that runs after `close`, or when this process is gone."""
        self._notify_reaper(f"!{json.dumps(argv)}")

    async def close(self) -> None:
        """Kill all children, and wait for their end."""
        self._is_closed = True
        for child in self._children:
            child.kill()
        if self._following:
            await asyncio.wait(self._following)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            await asyncio.to_thread(self._reaper.wait)
            self._reaper = None

    def _fork_with_report(self, program: Program, refusal: Tail) -> tuple[Child, Pipe]:
        """Return the child and its report pipe, which ends when the program is executed or its error is written."""
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
        self._ensure_reaper()  # before there is a child to register
        with _pipe() as (out, child_out), _pipe() as (err, child_err):
            process = subprocess.Popen(
                _command(program, report=report),
                cwd=program.cwd,
                env=dict(program.env),
                stdin=subprocess.DEVNULL,
                stdout=child_out,
                stderr=child_err,
                pass_fds=() if program.is_direct else (report,),
                start_new_session=True,
                umask=0o022,
            )
        self._notify_reaper(f"{'~' if program.is_supervised else '+'}{process.pid}")
        pipes = (Pipe(out, program.stdout), Pipe(err, program.stderr))
        child = Child(process, pipes, is_supervised=program.is_supervised)
        self._children.add(child)
        following = asyncio.create_task(self._follow(child))
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        return child

    async def _follow(self, child: Child) -> None:
        await child.wait()
        self._children.discard(child)
        for pid in {child.pid, child.supervisor or child.pid}:
            self._notify_reaper(f"-{pid}")

    def _ensure_reaper(self) -> subprocess.Popen[bytes]:
        if self._reaper is None:
            self._reaper = _start_reaper()
        return self._reaper

    def _notify_reaper(self, line: str) -> None:
        reaper = self._ensure_reaper()
        if reaper.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                reaper.stdin.write(f"{line}\n".encode())


def _command(program: Program, *, report: int) -> tuple[str, ...]:
    if program.is_direct:
        return program.argv
    script = "supervisor.py" if program.is_supervised else "launcher.py"
    max_processes = (str(program.max_processes),) if program.is_supervised else ()
    return (*_ISOLATED, str(_HERE / script), str(os.getpid()), str(report), *max_processes, *program.argv)


def _start_reaper() -> subprocess.Popen[bytes]:
    # It inherits these signals blocked, and unblocks them once it ignores them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        return subprocess.Popen(
            (*_ISOLATED, str(_HERE / "reaper.py")),
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
    """Yield a pipe for a child to write to. Closes our writing end; on an error, the reading end too."""
    reading, writing = os.pipe()
    try:
        yield reading, writing
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)

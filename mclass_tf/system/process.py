"""Runs child processes: reads their output line by line, and forwards an interrupt once."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from mclass_tf.errors import InterruptedByUserError
from mclass_tf.system.runs import RunFolder

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_SECONDS = 0.05  # between two reads of the file that a child writes to
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command to run. `env` is its whole environment.

    `run_folder` is for a child that must complete even if this process dies: it writes to files there, and its record there says
    that it does `name`. Other children write to pipes, and die at the first write that nobody reads.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    name: str = ""
    run_folder: RunFolder | None = None


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The result of a command. `status` is the exit status (negative: killed by that signal).

    `interrupted` says whether an interrupt was forwarded. `group` is its process group, in which it may have left processes
    behind; 0 if it had none.
    """

    status: int
    stdout: str
    stderr: str
    interrupted: bool
    group: int = 0


class Runner(Protocol):
    """Runs a command to its end. `on_stdout` gets each line, without its newline, as it arrives."""

    def __call__(self, command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed: ...


class Deferred:
    """An interrupt that does not raise, but waits to be queried. A second one before `clear` raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self.number = 0

    def wait(self, seconds: float) -> bool:
        """Return True as soon as an interrupt arrives, or False after `seconds`."""
        return self._arrived.wait(seconds)

    def clear(self) -> None:
        self._arrived.clear()

    @property
    def is_final(self) -> bool:
        """Return whether the signal was not SIGINT: then the user must not be asked."""
        return self.number != signal.SIGINT

    def take(self, number: int) -> bool:
        """Keep the signal for `wait`; return False if one is already pending."""
        if self._arrived.is_set():
            return False
        self.number = number
        self._arrived.set()
        return True


class _Interrupts:
    """The running children, and whether the user has interrupted."""

    def __init__(self) -> None:
        # Reentrant, because a signal may arrive while its thread holds it.
        self._lock = threading.RLock()
        self._children: dict[int, subprocess.Popen[str]] = {}
        self._interrupted: set[int] = set()
        self._raised = False
        self.deferred: Deferred | None = None

    def start(
        self, command: Command, *, stdout: IO[bytes] | int, stderr: IO[bytes] | int
    ) -> subprocess.Popen[str]:
        with self._lock:
            if self._raised:
                raise InterruptedByUserError("interrupted; nothing more was started")
            child = subprocess.Popen(
                command.argv,
                cwd=command.cwd,
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                text=True,
                encoding="utf-8",
                errors="replace",
                # In the terminal's process group, the child would get Ctrl-C from the terminal and again from us.
                # At the second interrupt Terraform abandons its state.
                start_new_session=True,
            )
            self._children[child.pid] = child
            return child

    def finish(self, child: subprocess.Popen[str]) -> bool:
        """Unregister the child; return whether it was interrupted."""
        with self._lock:
            del self._children[child.pid]
            was_interrupted = child.pid in self._interrupted
            self._interrupted.discard(child.pid)
            return was_interrupted

    def interrupt(self, child: subprocess.Popen[str]) -> None:
        """Send SIGINT to the child, once."""
        with self._lock:
            if child.pid not in self._interrupted:
                self._interrupted.add(child.pid)
                child.send_signal(signal.SIGINT)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        with self._lock:
            if self.deferred is not None and not self._children and self.deferred.take(number):
                return
            self._raised = True
            for child in self._children.values():
                self.interrupt(child)
            if not self._children:
                raise KeyboardInterrupt

    def reset(self) -> None:
        self._raised = False


_interrupts = _Interrupts()


@contextmanager
def interruptible() -> Iterator[None]:
    """In the main thread: forward SIGINT, SIGTERM and SIGHUP to every child exactly once.

    Without running children they raise KeyboardInterrupt. After an interrupt no further child is started.
    """
    _interrupts.reset()
    # Ignored signals (nohup) stay ignored.
    handled = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, _interrupts.handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _interrupts.reset()  # later work of this process was not interrupted


def clean_up_after_interrupt() -> None:
    """Let children be started again: for what must be taken down after an interrupt. The next one counts as the first did."""
    _interrupts.reset()


@contextmanager
def deferred_interrupts() -> Iterator[Deferred]:
    """In the main thread, within `interruptible`: keep the first interrupt for a query, instead of raising."""
    deferred = Deferred()
    if threading.current_thread() is threading.main_thread():
        _interrupts.deferred = deferred
    try:
        yield deferred
    finally:
        _interrupts.deferred = None


def run(command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
    """Run `command` to its end in its own session. Raises FileNotFoundError if the program is missing."""
    if command.run_folder is None:
        return _run_in_pipes(command, on_stdout)
    return _run_in_files(command, command.run_folder, on_stdout)


def _run_in_pipes(command: Command, on_stdout: Callable[[str], None] | None) -> Completed:
    child = _interrupts.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stderr: list[str] = []
    # The child blocks after 64 kB in a pipe that nobody reads.
    drain = threading.Thread(target=lambda: stderr.extend(child.stderr or ()), daemon=True)
    drain.start()
    try:
        stdout = _lines(child.stdout or (), on_stdout)
        status = child.wait()
        drain.join()
    except BaseException:
        # Killing Terraform would lose its work and leave the state locked: interrupt it, and read its output to the end.
        _interrupts.interrupt(child)
        _lines(child.stdout or (), None)
        child.wait()
        drain.join()
        _interrupts.finish(child)
        raise
    finally:
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
    return Completed(
        status=status, stdout="".join(stdout), stderr="".join(stderr), interrupted=_interrupts.finish(child)
    )


def _run_in_files(command: Command, folder: RunFolder, on_stdout: Callable[[str], None] | None) -> Completed:
    """Run a child that writes to files, so that it continues if this process is killed."""
    with folder.opened(command.name) as files:
        try:
            child = _interrupts.start(command, stdout=files.stdout, stderr=files.stderr)
        except BaseException:
            folder.clear()
            raise
    try:
        folder.note(child.pid)
        stdout = "".join(_follow_file(folder.stdout, child, on_stdout))
    except BaseException:
        _interrupts.interrupt(child)
        child.wait()
        _interrupts.finish(child)
        raise
    return Completed(
        status=child.wait(),
        stdout=stdout,
        stderr=folder.stderr.read_text(encoding="utf-8", errors="replace"),
        interrupted=_interrupts.finish(child),
        group=child.pid,
    )


def _follow_file(
    file: Path, child: subprocess.Popen[str], on_line: Callable[[str], None] | None
) -> Iterator[str]:
    """Yield the lines of the file as the child writes them, until it has ended."""
    rest = b""
    with file.open("rb", buffering=0) as stream:
        has_ended = False
        while not has_ended:
            has_ended = _ends_within(child, _POLL_SECONDS)  # before reading, so that nothing is missed
            while chunk := stream.read(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield _pass_line(line + b"\n", on_line)
    if rest:
        yield _pass_line(rest, on_line)


def _pass_line(line: bytes, on_line: Callable[[str], None] | None) -> str:
    """Return the line as text, after passing it to `on_line` without its newline."""
    text = line.decode("utf-8", errors="replace")
    if on_line is not None:
        on_line(text.rstrip("\n"))
    return text


def _ends_within(child: subprocess.Popen[str], seconds: float) -> bool:
    """Return whether the child ends within `seconds`, without the busy polling of `Popen.wait`."""
    if child.poll() is None and hasattr(os, "pidfd_open"):
        with suppress(OSError):  # an old kernel, or no descriptor left: use `Popen.wait`
            descriptor = os.pidfd_open(child.pid)
            try:
                ended = select.poll()
                ended.register(descriptor, select.POLLIN)
                ended.poll(seconds * 1000)
            finally:
                os.close(descriptor)
            return child.poll() is not None
    with suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    return child.returncode is not None


def _lines(stream: Iterable[str], on_line: Callable[[str], None] | None) -> list[str]:
    lines = []
    for line in stream:
        lines.append(line)
        if on_line is not None:
            on_line(line.rstrip("\n"))
    return lines

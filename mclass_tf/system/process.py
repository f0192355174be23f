"""Run a child process: its output read line by line, an interrupt forwarded once."""

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
_LOOK = 0.05  # seconds between two looks at what a child has written to its file
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run: `env` is the child's whole environment.

    `run_folder` is for a child that must come to its own end whatever happens to this process: it writes to files there. What
    it does is told there as `name`. Otherwise it writes to pipes, and is ended by the first word that nobody reads.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    name: str = ""
    run_folder: RunFolder | None = None


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How it ended: the exit status (negative: killed by that signal) and whether an interrupt was forwarded.

    `group` is its process group, in which it may have left processes behind; 0 where it has none.
    """

    status: int
    stdout: str
    stderr: str
    interrupted: bool
    group: int = 0


class Runner(Protocol):
    """Runs a command to its end; `on_stdout` gets each line, without its newline, as it comes."""

    def __call__(self, command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed: ...


class Deferred:
    """An interrupt that waits to be asked for. The next one, before it was cleared, raises KeyboardInterrupt after all."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self.number = 0

    def wait(self, seconds: float) -> bool:
        """Return True as soon as there is an interrupt, else False when the seconds are over."""
        return self._arrived.wait(seconds)

    def clear(self) -> None:
        self._arrived.clear()

    @property
    def is_final(self) -> bool:
        """Return whether the signal was another than Ctrl-C's: nobody is to be asked then."""
        return self.number != signal.SIGINT

    def take(self, number: int) -> bool:
        """Keep the signal for `wait`; return False where one is there already."""
        if self._arrived.is_set():
            return False
        self.number = number
        self._arrived.set()
        return True


class _Interrupts:
    """The children that run now, and whether the user has interrupted."""

    def __init__(self) -> None:
        # Reentrant: a signal may arrive while its own thread holds it.
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
                # In the terminal's own group the child would get Ctrl-C from the terminal and again from us;
                # at the second interrupt Terraform gives up its state.
                start_new_session=True,
            )
            self._children[child.pid] = child
            return child

    def finish(self, child: subprocess.Popen[str]) -> bool:
        """Forget the child; return whether it was interrupted."""
        with self._lock:
            del self._children[child.pid]
            was_interrupted = child.pid in self._interrupted
            self._interrupted.discard(child.pid)
            return was_interrupted

    def tell(self, child: subprocess.Popen[str]) -> None:
        """Ask the child to stop, once."""
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
                self.tell(child)
            if not self._children:
                raise KeyboardInterrupt

    def reset(self) -> None:
        self._raised = False


_interrupts = _Interrupts()


@contextmanager
def interruptible() -> Iterator[None]:
    """In the main thread: let SIGINT, SIGTERM and SIGHUP reach every child exactly once.

    With no child running they raise KeyboardInterrupt. Once interrupted, no further child is started.
    """
    _interrupts.reset()
    # One that is ignored (nohup) stays so.
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, _interrupts.handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _interrupts.reset()  # what comes after in this process was not interrupted


@contextmanager
def deferred_interrupts() -> Iterator[Deferred]:
    """In the main thread, within `interruptible`: let the first interrupt wait until it is asked for, instead of raising."""
    deferred = Deferred()
    if threading.current_thread() is threading.main_thread():
        _interrupts.deferred = deferred
    try:
        yield deferred
    finally:
        _interrupts.deferred = None


def run(command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
    """Run `command` to its end in a session of its own. Raises FileNotFoundError where there is no such program."""
    if command.run_folder is None:
        return _run_in_pipes(command, on_stdout)
    return _run_in_files(command, command.run_folder, on_stdout)


def _run_in_pipes(command: Command, on_stdout: Callable[[str], None] | None) -> Completed:
    child = _interrupts.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stderr: list[str] = []
    # A pipe that nobody reads stops the child at 64 kB.
    drain = threading.Thread(target=lambda: stderr.extend(child.stderr or ()), daemon=True)
    drain.start()
    try:
        stdout = _lines(child.stdout or (), on_stdout)
        status = child.wait()
        drain.join()
    except BaseException:
        # To kill Terraform would lose what it has done and leave its state locked: it is asked, and heard to its end.
        _interrupts.tell(child)
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
        status=status,
        stdout="".join(stdout),
        stderr="".join(stderr),
        interrupted=_interrupts.finish(child),
    )


def _run_in_files(command: Command, folder: RunFolder, on_stdout: Callable[[str], None] | None) -> Completed:
    """Run a child that needs no reader: this process may be killed at any moment, and the child does not notice."""
    with folder.opened(command.name) as files:
        try:
            child = _interrupts.start(command, stdout=files.stdout, stderr=files.stderr)
        except BaseException:
            folder.clear()
            raise
    try:
        folder.note(child.pid)
        stdout = "".join(_followed(folder.stdout, child, on_stdout))
    except BaseException:
        _interrupts.tell(child)
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


def _followed(
    file: Path, child: subprocess.Popen[str], on_line: Callable[[str], None] | None
) -> Iterator[str]:
    """Yield each line of the file as the child writes it, until the child has ended."""
    rest = b""
    with file.open("rb", buffering=0) as stream:
        has_ended = False
        while not has_ended:
            has_ended = _ends_within(
                child, _LOOK
            )  # before the file is read to its end, so that nothing comes after
            while chunk := stream.read(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield _decoded(line + b"\n", on_line)
    if rest:
        yield _decoded(rest, on_line)


def _decoded(line: bytes, on_line: Callable[[str], None] | None) -> str:
    """Return the line as text, once `on_line` has it without its newline."""
    text = line.decode("utf-8", errors="replace")
    if on_line is not None:
        on_line(text.rstrip("\n"))
    return text


def _ends_within(child: subprocess.Popen[str], seconds: float) -> bool:
    """Wait for the end of the child, without the thread or the look every few milliseconds that `wait` would take."""
    if child.poll() is None and hasattr(os, "pidfd_open"):
        with suppress(OSError):  # an old kernel, or no descriptor left: then as Python waits
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

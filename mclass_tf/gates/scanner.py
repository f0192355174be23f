"""A scanner as a command sees it: it scans in a process of its own, and whatever happens to that is an error of the scan."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mclass_tf.gates import launch, scan, wire
from mclass_tf.gates.launch import Child, Launch, Start
from mclass_tf.gates.scan import Scan
from mclass_tf.gates.wire import Request

PATIENCE: Final = 300.0
"""Seconds that one scan may take. One takes a second or two; a plan of thousands of resources a minute."""

_LINGERING: Final = 2.0  # seconds that are left to a process which has closed its channel, to end by itself
_LAST_WORDS: Final = 2000  # bytes of its output that are kept
_PIECE: Final = 65536


class ScannerError(Exception):
    """There is no scan: the process could not be started, ended too early, took too long, or said what makes no sense."""


@dataclass(kw_only=True, eq=False)
class Scanner:
    """Scans one thing at a time, in a process that is started for the first and ends with `close` or with this one."""

    start: Start = launch.start_process
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    patience: float = PATIENCE
    _running: _Running | None = field(default=None, init=False, repr=False)
    # Held while a process is started or ended, which several threads may ask for; never while one scans.
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def load(self, *, project: Path, keep: Path | None = None) -> None:
        """Import Checkov, its checks and the project's own; scans do this themselves, it takes two seconds or three."""
        self._ask(Request(kind="load", project=str(project), keep=str(keep or "")), project=project)

    def hcl(self, *, project: Path, variables_file: Path, keep: Path | None = None) -> Scan:
        """Scan terraform/ with the variables of one environment. `keep` is a private folder for what makes the next faster."""
        request = Request(
            kind="hcl", project=str(project), variables_file=str(variables_file), keep=str(keep or "")
        )
        return self._ask(request, project=project)

    def plan(self, *, project: Path, text: str) -> Scan:
        """Scan a plan, given as JSON."""
        return self._ask(Request(kind="plan", project=str(project), plan=text), project=project)

    def close(self) -> None:
        """End the process, if there is one, whatever it does. The next scan starts another."""
        self._end(self._running, seconds=0)

    def _end(self, running: _Running | None, *, seconds: float) -> int:
        # With the lock: who closes at the end of everything waits for whoever is at it, or the folder would stay.
        with self._lock:
            if running is None or running is not self._running:
                return 0
            try:
                return running.end(seconds=seconds)
            finally:
                self._running = None
                atexit.unregister(self.close)

    def _ask(self, request: Request, *, project: Path) -> Scan:
        running = self._started()
        try:
            answer = running.ask(request, seconds=self.patience)
            return scan.from_json(answer, project=project)
        except BaseException as error:
            cause = self._cause(error, running)
            if cause is None:
                raise
            raise ScannerError(cause) from None

    def _started(self) -> _Running:
        with self._lock:
            if self._running is None:
                try:
                    self._running = _Running.begin(self.start, self.env)
                except OSError as error:
                    raise ScannerError(f"Checkov cannot be started: {error.strerror or error}") from None
                atexit.register(self.close)
            return self._running

    def _cause(self, error: BaseException, running: _Running) -> str | None:
        """End the process, which is of no more use, and say why; return None for what is not its fault."""
        is_late = isinstance(error, TimeoutError)
        status = self._end(running, seconds=0 if is_late else _LINGERING)
        if is_late:
            return f"Checkov has not finished a scan within {self.patience:.0f} s, and was ended"
        if isinstance(error, EOFError | OSError):
            return f"Checkov {_ending(status)} before its scan was complete{_last_words(running.output)}"
        if isinstance(error, ValueError):
            return f"the answer of Checkov makes no sense: {error}"
        return None


def _last_words(output: _Output) -> str:
    return f": {output.last_line}" if output.last_line else ""


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
    memory = ", as the system does where memory has run out" if -status == signal.SIGKILL else ""
    return f"was killed by {name}{memory},"


@dataclass(frozen=True, kw_only=True)
class _Running:
    """A scanner's process, the command's end of the channel to it, its private folder, and what it prints."""

    child: Child
    channel: socket.socket
    folder: Path
    output: _Output

    @classmethod
    def begin(cls, start: Start, env: Mapping[str, str]) -> _Running:
        folder = Path(tempfile.mkdtemp(prefix="mclass-gate-"))  # mode 0700
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        try:
            variables = launch.environment(folder, env)
            child = start(Launch(env=variables, folder=folder, channel=theirs, output=writing))
        except BaseException:
            ours.close()
            os.close(reading)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            theirs.close()
            os.close(writing)
        return cls(child=child, channel=ours, folder=folder, output=_Output(reading))

    def ask(self, request: Request, *, seconds: float) -> bytes:
        wire.send(self.channel, request.to_json(), seconds=seconds)
        return wire.receive(self.channel, seconds=seconds)

    def end(self, *, seconds: float) -> int:
        """End the process, which has `seconds` to end by itself; return its exit status, or minus the signal's number."""
        with suppress(OSError):  # it has gone already
            self.channel.shutdown(socket.SHUT_RDWR)
        status = self.child.end(seconds=seconds)
        self.output.join()
        self.channel.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return status


class _Output(threading.Thread):
    """Reads what a process prints, which is for nobody but whoever asks why it has ended: the last of it is kept."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="checkov-output", daemon=True)
        self._descriptor = descriptor
        self._last = b""
        self.start()

    def run(self) -> None:
        with os.fdopen(self._descriptor, "rb", buffering=0) as stream:
            while piece := stream.read(_PIECE):
                self._last = (self._last + piece)[-_LAST_WORDS:]

    @property
    def last_line(self) -> str:
        lines = self._last.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

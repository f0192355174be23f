"""The client of a scanner process. Whatever happens to the process becomes an error of the scan."""

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
from mclass_tf.gates.launch import ScannerLaunch, ScannerProcess, StartScanner
from mclass_tf.gates.scan import Scan
from mclass_tf.gates.wire import ScanRequest

SCAN_SECONDS: Final = 300.0
"""Time limit of one scan in seconds. A scan takes a second or two; a plan of thousands of resources takes a minute."""

_EXIT_SECONDS: Final = 2.0  # seconds for a process that has closed its channel to exit
_KEPT_BYTES: Final = 2000  # bytes of its output to keep
_CHUNK: Final = 65536


class ScannerError(Exception):
    """The scan failed: the process did not start, exited early, timed out, or sent an invalid answer."""


@dataclass(kw_only=True, eq=False)
class Scanner:
    """Runs one scan at a time in a process. The first scan starts it; `close` or the exit of this process ends it."""

    start: StartScanner = launch.start_process
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    patience: float = SCAN_SECONDS
    _running: _RunningScanner | None = field(default=None, init=False, repr=False)
    # Held while a process is started or ended, which several threads may request; never during a scan.
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def load(self, *, project: Path, cache: Path | None = None) -> None:
        """Import Checkov, its checks and the project's own, which takes two to three seconds. Scans also do this if needed."""
        self._ask(ScanRequest(kind="load", project=str(project), cache=str(cache or "")), project=project)

    def hcl(self, *, project: Path, variables_file: Path, cache: Path | None = None) -> Scan:
        """Scan terraform/ with the variables of one environment. The private folder `cache` speeds up the next one."""
        request = ScanRequest(
            kind="hcl", project=str(project), variables_file=str(variables_file), cache=str(cache or "")
        )
        return self._ask(request, project=project)

    def plan(self, *, project: Path, text: str) -> Scan:
        """Scan a plan, given as JSON."""
        return self._ask(ScanRequest(kind="plan", project=str(project), plan=text), project=project)

    def close(self) -> None:
        """End the process, if any, even during a scan. The next scan starts another."""
        self._end(self._running, seconds=0)

    def _end(self, running: _RunningScanner | None, *, seconds: float) -> int:
        # Under the lock: a close at exit must wait for a running close, or the private folder would remain.
        with self._lock:
            if running is None or running is not self._running:
                return 0
            try:
                return running.end(seconds=seconds)
            finally:
                self._running = None
                atexit.unregister(self.close)

    def _ask(self, request: ScanRequest, *, project: Path) -> Scan:
        running = self._running_scanner()
        try:
            answer = running.ask(request, seconds=self.patience)
            return scan.from_json(answer, project=project)
        except BaseException as error:
            cause = self._cause(error, running)
            if cause is None:
                raise
            raise ScannerError(cause) from None

    def _running_scanner(self) -> _RunningScanner:
        with self._lock:
            if self._running is None:
                try:
                    self._running = _RunningScanner.begin(self.start, self.env)
                except OSError as error:
                    raise ScannerError(f"Checkov cannot be started: {error.strerror or error}") from None
                atexit.register(self.close)
            return self._running

    def _cause(self, error: BaseException, running: _RunningScanner) -> str | None:
        """End the broken process and return the cause. Return None if the process is not at fault."""
        is_late = isinstance(error, TimeoutError)
        status = self._end(running, seconds=0 if is_late else _EXIT_SECONDS)
        if is_late:
            return f"Checkov has not finished a scan within {self.patience:.0f} s, and was ended"
        if isinstance(error, EOFError | OSError):
            return f"Checkov {_exit_cause(status)} before its scan was complete{_last_output(running.output)}"
        if isinstance(error, ValueError):
            return f"the answer of Checkov makes no sense: {error}"
        return None


def _last_output(output: _OutputReader) -> str:
    return f": {output.last_line}" if output.last_line else ""


def _exit_cause(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
    memory = ", as the system does where memory has run out" if -status == signal.SIGKILL else ""
    return f"was killed by {name}{memory},"


@dataclass(frozen=True, kw_only=True)
class _RunningScanner:
    child: ScannerProcess
    channel: socket.socket
    folder: Path
    output: _OutputReader

    @classmethod
    def begin(cls, start: StartScanner, env: Mapping[str, str]) -> _RunningScanner:
        folder = Path(tempfile.mkdtemp(prefix="mclass-gate-"))  # mode 0700
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        try:
            variables = launch.environment(folder, env)
            child = start(ScannerLaunch(env=variables, folder=folder, channel=theirs, output=writing))
        except BaseException:
            ours.close()
            os.close(reading)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            theirs.close()
            os.close(writing)
        return cls(child=child, channel=ours, folder=folder, output=_OutputReader(reading))

    def ask(self, request: ScanRequest, *, seconds: float) -> bytes:
        wire.send(self.channel, request.to_json(), seconds=seconds)
        return wire.receive(self.channel, seconds=seconds)

    def end(self, *, seconds: float) -> int:
        """End the process after at most `seconds`. Return its exit status, or minus the signal number."""
        with suppress(OSError):  # it has exited already
            self.channel.shutdown(socket.SHUT_RDWR)
        status = self.child.end(seconds=seconds)
        self.output.join()
        self.channel.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return status


class _OutputReader(threading.Thread):
    """Reads the output of a process and keeps its end, to explain why the process exited."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="checkov-output", daemon=True)
        self._descriptor = descriptor
        self._last = b""
        self.start()

    def run(self) -> None:
        with os.fdopen(self._descriptor, "rb", buffering=0) as stream:
            while piece := stream.read(_CHUNK):
                self._last = (self._last + piece)[-_KEPT_BYTES:]

    @property
    def last_line(self) -> str:
        lines = self._last.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

"""Controls the load process of a rehearsal: starts it, announces phases, stops it and reads its results."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

from mclass_tf.errors import MclassError
from mclass_tf.rehearsal.plan import LoadPlan
from mclass_tf.rehearsal.result import FailedRequest, Latency, LoadPhase, LoadResult, Sample, SenderQuality
from mclass_tf.system import python

_READY_SECONDS = 30.0
_STOP_GRACE = 60.0
_ERROR_LINES = 10
# An hour at a sample a second. A longer rehearsal loses its beginning on the charts, but none of the counts.
_MAX_SAMPLES = 3600


class LoadError(MclassError):
    """The load process exited early or does not respond."""


class LoadSender:
    """A context manager whose exit ends the load process, even after an error."""

    def __init__(self, plan: LoadPlan, *, env: Mapping[str, str] | None = None) -> None:
        self._plan = plan
        self._env = dict(os.environ if env is None else env)
        self._samples: deque[Sample] = deque(maxlen=_MAX_SAMPLES)
        self._failed: list[FailedRequest] = []
        self._end: dict[str, Any] | None = None
        self._ready = threading.Event()
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._errors: deque[str] = deque(maxlen=_ERROR_LINES)
        self._sent = 0
        self._failed_count = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            python.command("mclass_tf.rehearsal.load"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=python.environment(self._env),
            text=True,
            # Ctrl-C goes to the rehearsal, which restores the service and then stops the load.
            start_new_session=True,
        )
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._read, self._read_errors)
        ]
        for thread in self._threads:
            thread.start()
        try:
            self._send(json.loads(self._plan.to_json()))
            self._wait_until_ready()
        except BaseException:
            self._close()
            raise
        return self

    def _wait_until_ready(self) -> None:
        if not self._ready.wait(_READY_SECONDS) or self._over.is_set():
            raise self._early_exit()

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def sent(self) -> int:
        """The number of requests sent in completed seconds."""
        return self._sent

    @property
    def failed(self) -> int:
        return self._failed_count

    def enter(self, phase: str) -> None:
        """Start a phase."""
        self._send({"phase": phase})

    def wait(self, *, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Wait `seconds`, or until a sample for which `until` returns true. Raise LoadError if the load process has exited."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not until() and (left := deadline - time.monotonic()) > 0:
                if self._over.is_set():
                    raise self._early_exit()
                self._changed.wait(min(left, 1.0))

    def stop(self) -> LoadResult:
        """Stop the load, wait for the requests in flight, and return the results."""
        self._send({"stop": True})
        if not self._over.wait(self._plan.timeout + _STOP_GRACE) or self._end is None:
            raise self._early_exit()
        return _load(self._end, samples=tuple(self._samples), failed=tuple(self._failed))

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._early_exit() from None

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        try:
            for line in self._process.stdout:
                self._handle(json.loads(line))
        except ValueError as error:  # it was killed in the middle of a line
            self._errors.append(f"its last line is not whole: {error}")
        finally:  # release the waiting threads
            self._over.set()
            self._ready.set()
            with self._changed:
                self._changed.notify_all()

    def _handle(self, message: dict[str, Any]) -> None:
        if "sample" in message:
            sample = Sample(**message["sample"])
            with self._changed:
                self._samples.append(sample)
                self._sent += sample.sent
                self._failed_count += sample.failed
                self._changed.notify_all()
        elif "failed" in message:
            self._failed.append(FailedRequest(**message["failed"]))
        elif "end" in message:
            self._end = message["end"]
        elif "ready" in message:
            self._ready.set()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None  # noqa: S101
        for line in self._process.stderr:
            self._errors.append(line.rstrip())

    def _early_exit(self) -> LoadError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        errors = " | ".join(self._errors) or "it says nothing"
        return LoadError(
            f"the process that sends the load failed (status {self._process.poll()}): {errors}",
            hint="this is a bug, unless the machine is out of memory; the rehearsal was broken off",
        )

    def _close(self) -> None:
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        if self._end is None:  # it was not stopped, or it failed
            self._process.kill()
        try:
            self._process.wait(_STOP_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _load(
    end: Mapping[str, Any], *, samples: tuple[Sample, ...], failed: tuple[FailedRequest, ...]
) -> LoadResult:
    return LoadResult(
        started_at=end["started_at"],
        ended_at=end["ended_at"],
        phases=tuple(_phase(phase) for phase in end["phases"]),
        samples=samples,
        failed=failed,
        left_out=end["left_out"],
        sender=SenderQuality(**end["sender"]),
        connections_new=end["connections_new"],
        connections_reused=end["connections_reused"],
    )


def _phase(document: Mapping[str, Any]) -> LoadPhase:
    return LoadPhase(
        **{
            **document,
            "latency": document["latency"] and Latency(**document["latency"]),
            "long_latency": document["long_latency"] and Latency(**document["long_latency"]),
        }
    )

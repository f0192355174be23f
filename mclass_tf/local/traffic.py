"""Records traffic: listener addresses on this machine, request counts, and failed requests."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mclass_tf.local.balancer.report import Failure, Listening, Metrics

_FAILURES_KEPT = 20_000
_LONGEST_PATH = 1024  # characters; clients may send a hundred times more
_LONGEST_METHOD = 32


@dataclass(frozen=True, kw_only=True)
class History:
    """Request counts by the ARNs of listener rule and target group, and failures in order."""

    requests: Mapping[tuple[str, str], int]
    failures: Sequence[Failure]


class Traffic:
    """The balancer part writes it, the admin endpoint reads it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening: dict[str, Listening] = {}
        self._failures: deque[Failure] = deque(maxlen=_FAILURES_KEPT)
        self._requests: Counter[tuple[str, str]] = Counter()

    def take_listening(self, report: Listening) -> None:
        with self._lock:
            self._listening[report.listener_arn] = report

    def forget_listening(self) -> None:
        """Forget all addresses, because the process that listened is gone."""
        with self._lock:
            self._listening.clear()

    @property
    def listening(self) -> Mapping[str, Listening]:
        """Return the addresses by listener ARN. May contain deleted listeners."""
        with self._lock:
            return dict(self._listening)

    def take_metrics(self, report: Metrics) -> None:
        with self._lock:
            for rule, count in report.by_rule.items():
                self._requests[rule, report.target_group_arn or ""] += count

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """Return request counts since the start by the ARNs of listener rule and target group. They are up to a second late."""
        with self._lock:
            return dict(self._requests)

    def take_failure(self, report: Failure) -> None:
        shown = dataclasses.replace(
            report, path=report.path[:_LONGEST_PATH], method=report.method[:_LONGEST_METHOD]
        )
        with self._lock:
            self._failures.append(shown)

    @property
    def history(self) -> History:
        """The past traffic, for a snapshot."""
        with self._lock:
            return History(requests=Counter(self._requests), failures=list(self._failures))

    @history.setter
    def history(self, history: History) -> None:
        with self._lock:
            self._requests = Counter(history.requests)
            self._failures = deque(history.failures, maxlen=_FAILURES_KEPT)

    def failures(self, *, since: float = 0) -> tuple[Failure, ...]:
        """Return failures from `since` (seconds since the epoch), in order of arrival. Only the last 20,000 are kept."""
        with self._lock:
            return tuple(failure for failure in self._failures if failure.at >= since)

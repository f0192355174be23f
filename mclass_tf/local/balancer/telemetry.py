"""Collects counts, response times and access log lines of the traffic, and reports them once a second.

Names: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

from mclass_tf.local.balancer.completed import CompletedRequest
from mclass_tf.local.balancer.report import AccessLog, Metrics, Report

Send = Callable[[Report], None]

_log = logging.getLogger(__name__)
_MAX_LOGGED = 16 * 1024 * 1024  # characters per load balancer and second; AWS's logs are best-effort, too
_URL_LIMIT_EXCEEDED = 507
_TARGET_CODES = tuple(f"HTTPCode_Target_{digit}XX_Count" for digit in range(6))
_COUNTED_ERRORS = frozenset((500, 502, 503, 504))
_MAX_REPORT = 1024 * 1024  # characters of one report


class Counts:
    """Counts of one load balancer and one of its target groups, or of no group."""

    __slots__ = ("by_rule", "counts", "response_times")

    def __init__(self) -> None:
        self.counts: defaultdict[str, float] = defaultdict(float)
        self.by_rule: defaultdict[str, int] = defaultdict(int)
        self.response_times: list[float] = []


class LogBuffer:
    """Buffers lines of a load balancer's access log up to a size, and counts the lost ones."""

    def __init__(self) -> None:
        self.lost = 0
        self._size = 0
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        if self._size + len(line) > _MAX_LOGGED:
            self.lost += 1
            return
        self._size += len(line)
        self._lines.append(line)

    def batches(self) -> Iterator[tuple[str, ...]]:
        """Yield all lines, in batches of limited size."""
        batch: list[str] = []
        size = 0
        for line in self._lines:
            if batch and size + len(line) > _MAX_REPORT:
                yield tuple(batch)
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        if batch:
            yield tuple(batch)


class Telemetry:
    """Collects for one second at a time, then passes the reports to `send`."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self._second = int(time.time())
        self._counts: defaultdict[tuple[str, str | None], Counts] = defaultdict(Counts)
        self._lines: defaultdict[str, LogBuffer] = defaultdict(LogBuffer)

    def of(self, load_balancer_arn: str, target_group_arn: str | None) -> Counts:
        return self._counts[load_balancer_arn, target_group_arn]

    def count(self, completed: CompletedRequest) -> None:
        """Count a request and its outcome."""
        connection, status = completed.connection, completed.status
        arn = connection.load_balancer_arn
        if completed.target is not None:
            counts = self._counts[arn, completed.target_group_arn]
            counts.counts["RequestCount"] += 1
            counts.by_rule[completed.rule_arn] += 1
            if completed.target_status:
                counts.response_times.append(completed.response_time)
                if not completed.is_websocket:
                    counts.counts[_TARGET_CODES[status // 100]] += 1
        if not completed.target_status:
            _count_own_answer(self._counts[arn, None].counts, completed.action, status)

    def log(self, load_balancer_arn: str, line: str) -> None:
        self._lines[load_balancer_arn].add(line)

    async def run(self) -> None:
        """Report at the end of every second."""
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            self.flush()

    def flush(self) -> None:
        second, self._second = self._second, int(time.time())
        counts, lines = self._counts, self._lines
        self._counts, self._lines = defaultdict(Counts), defaultdict(LogBuffer)
        for (load_balancer, group), counted in counts.items():
            self.send(
                Metrics(
                    at=second,
                    load_balancer_arn=load_balancer,
                    target_group_arn=group,
                    counts=dict(counted.counts),
                    by_rule=dict(counted.by_rule),
                    response_times=tuple(counted.response_times),
                )
            )
        for load_balancer, kept in lines.items():
            for batch in kept.batches():
                self.send(AccessLog(load_balancer_arn=load_balancer, lines=batch))
            if kept.lost:
                _log.error(
                    "%d lines of the access log of %s were lost: its limit is %d MB per second",
                    kept.lost,
                    load_balancer,
                    _MAX_LOGGED >> 20,
                )


def _count_own_answer(counts: defaultdict[str, float], action: str, status: int) -> None:
    if action == "redirect":
        is_too_long = status == _URL_LIMIT_EXCEEDED
        counts["HTTP_Redirect_Url_Limit_Exceeded_Count" if is_too_long else "HTTP_Redirect_Count"] += 1
    elif action == "fixed-response":
        counts["HTTP_Fixed_Response_Count"] += 1
    if status >= 300:  # noqa: PLR2004
        counts[f"HTTPCode_ELB_{status // 100}XX_Count"] += 1
    if status in _COUNTED_ERRORS:
        counts[f"HTTPCode_ELB_{status}_Count"] += 1

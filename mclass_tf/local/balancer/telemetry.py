"""What passed: counts, response times, failures and log lines, reported once a second.

Names: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

from mclass_tf.local.balancer.report import AccessLog, Metrics, Report

Send = Callable[[Report], None]


class Counts:
    """What was counted for one load balancer and one of its target groups, or none."""

    __slots__ = ("by_listener", "counts", "response_times")

    def __init__(self) -> None:
        self.counts: defaultdict[str, float] = defaultdict(float)
        self.by_listener: defaultdict[str, int] = defaultdict(int)
        self.response_times: list[float] = []


class Telemetry:
    """Collects for a second; `send` takes every report."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self._second = int(time.time())
        self._counts: defaultdict[tuple[str, str | None], Counts] = defaultdict(Counts)
        self._lines: defaultdict[str, list[str]] = defaultdict(list)

    def of(self, load_balancer_arn: str, target_group_arn: str | None) -> Counts:
        return self._counts[load_balancer_arn, target_group_arn]

    def log(self, load_balancer_arn: str, line: str) -> None:
        self._lines[load_balancer_arn].append(line)

    async def run(self) -> None:
        """Report at the end of every second."""
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            self.flush()

    def flush(self) -> None:
        second, self._second = self._second, int(time.time())
        counts, lines = self._counts, self._lines
        self._counts, self._lines = defaultdict(Counts), defaultdict(list)
        for (load_balancer, group), found in counts.items():
            self.send(
                Metrics(
                    at=second,
                    load_balancer_arn=load_balancer,
                    target_group_arn=group,
                    counts=dict(found.counts),
                    by_listener=dict(found.by_listener),
                    response_times=tuple(found.response_times),
                )
            )
        for load_balancer, found_lines in lines.items():
            self.send(AccessLog(load_balancer_arn=load_balancer, lines=tuple(found_lines)))

"""Collects the access logs of load balancers and writes them to their buckets every five minutes.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import logging
import secrets
import string
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from moto.elbv2.models import elbv2_backends
from moto.s3.models import s3_backends

from mclass_tf.local.balancer.report import AccessLog
from mclass_tf.local.live import live

_log = logging.getLogger("mclass_tf.local")

_INTERVAL = 300.0  # seconds on the simulated clock
_TICK = 1.0
_MAX_BUFFER_BYTES = 64 * 1024**2  # per load balancer; a full buffer is written at once
_LINE_OVERHEAD = 80  # bytes that a string in a list takes besides its characters
_RANDOM = string.ascii_lowercase + string.digits
_NODE = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class LogDestination:
    """The bucket and prefix that a load balancer logs to."""

    account_id: str
    region: str
    bucket: str
    prefix: str
    load_balancer: str


class AccessLogs:
    """A part of the runtime. Call `take` and `write` under the API lock, `exclusive`."""

    def __init__(self, *, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self._exclusive = exclusive
        self._lines: dict[str, list[str]] = {}
        self._sizes: Counter[str] = Counter()

    def take(self, report: AccessLog) -> None:
        """Buffer the lines if access logs are enabled for the load balancer."""
        if _destination(report.load_balancer_arn) is None:
            return
        lines = self._lines.setdefault(report.load_balancer_arn, [])
        lines.extend(report.lines)
        self._sizes[report.load_balancer_arn] += sum(len(line) + _LINE_OVERHEAD for line in report.lines)
        if self._sizes[report.load_balancer_arn] > _MAX_BUFFER_BYTES:
            self.write(now=time.time())

    async def run(self) -> None:
        written = time.time()
        try:
            while True:
                await asyncio.sleep(_TICK)
                if time.time() - written >= live.clock.real(_INTERVAL):
                    written = time.time()
                    with self._exclusive():
                        self.write(now=written)
        finally:
            with self._exclusive():
                self.write(now=time.time())

    def write(self, *, now: float) -> None:
        """Write the lines buffered since the last write, one object for each load balancer."""
        collected, self._lines = self._lines, {}
        self._sizes.clear()
        for arn, lines in collected.items():
            destination = _destination(arn)
            if destination is None or not lines:
                continue
            body = gzip.compress("".join(f"{line}\n" for line in lines).encode())
            try:
                s3: Any = s3_backends[destination.account_id]["aws"]
                s3.put_object(destination.bucket, key_of(destination, at=now), body)
            except Exception:  # noqa: BLE001  a failure of one bucket must not affect the others
                _log.exception("the access log of %s cannot be written to %s", arn, destination.bucket)
                live.problems.append(f"the access log of {arn} cannot be written to {destination.bucket}")


def key_of(destination: LogDestination, *, at: float) -> str:
    """Return the object key of a log whose interval ends at `at` (seconds since the epoch)."""
    end = dt.datetime.fromtimestamp(at, dt.UTC)
    random = "".join(secrets.choice(_RANDOM) for _ in range(8))
    name = "_".join(
        (
            destination.account_id,
            "elasticloadbalancing",
            destination.region,
            destination.load_balancer.replace("/", "."),
            f"{end:%Y%m%dT%H%MZ}",
            _NODE,
            random,
        )
    )
    prefix = f"{destination.prefix}/" if destination.prefix else ""
    folder = f"AWSLogs/{destination.account_id}/elasticloadbalancing/{destination.region}/{end:%Y/%m/%d}"
    return f"{prefix}{folder}/{name}.log.gz"


def _destination(load_balancer_arn: str) -> LogDestination | None:
    parts = load_balancer_arn.split(":")
    account_id, region = parts[4], parts[3]
    balancer = elbv2_backends[account_id][region].load_balancers.get(load_balancer_arn)
    if balancer is None or str(balancer.attrs.get("access_logs.s3.enabled")).lower() != "true":
        return None
    return LogDestination(
        account_id=account_id,
        region=region,
        bucket=balancer.attrs["access_logs.s3.bucket"],
        prefix=balancer.attrs.get("access_logs.s3.prefix") or "",
        load_balancer=parts[5].removeprefix("loadbalancer/"),
    )

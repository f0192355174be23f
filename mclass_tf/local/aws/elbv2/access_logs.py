"""The access logs of load balancers: collected, and written to their buckets every five minutes.

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

_INTERVAL = 300.0  # AWS's seconds
_TICK = 1.0
_BYTES_KEPT = 64 * 1024**2  # of one load balancer: then they are written at once
_OF_A_LINE = 80  # bytes of a text in a list, beside its characters
_RANDOM = string.ascii_lowercase + string.digits
_NODE = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class LogDestination:
    """Where an access log goes."""

    account_id: str
    region: str
    bucket: str
    prefix: str
    load_balancer: str


class AccessLogs:
    """A part of the runtime; `take` is called under the lock of the calls."""

    def __init__(self, *, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self._exclusive = exclusive
        self._lines: dict[str, list[str]] = {}
        self._sizes: Counter[str] = Counter()

    def take(self, report: AccessLog) -> None:
        """Keep the lines if the load balancer logs at all."""
        if _place(report.load_balancer_arn) is None:
            return
        lines = self._lines.setdefault(report.load_balancer_arn, [])
        lines.extend(report.lines)
        self._sizes[report.load_balancer_arn] += sum(len(line) + _OF_A_LINE for line in report.lines)
        if self._sizes[report.load_balancer_arn] > _BYTES_KEPT:
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
        """Write what has come in since the last time, one object for each load balancer."""
        collected, self._lines = self._lines, {}
        self._sizes.clear()
        for arn, lines in collected.items():
            place = _place(arn)
            if place is None or not lines:
                continue
            body = gzip.compress("".join(f"{line}\n" for line in lines).encode())
            try:
                bucket: Any = s3_backends[place.account_id]["aws"]
                bucket.put_object(place.bucket, key_of(place, at=now), body)
            except Exception:  # noqa: BLE001  one bucket must not keep the others from theirs
                _log.exception("the access log of %s cannot be written to %s", arn, place.bucket)
                live.problems.append(f"the access log of {arn} cannot be written to {place.bucket}")


def key_of(place: LogDestination, *, at: float) -> str:
    """Return the key of the object that ends at that time (seconds since the epoch)."""
    end = dt.datetime.fromtimestamp(at, dt.UTC)
    random = "".join(secrets.choice(_RANDOM) for _ in range(8))
    name = "_".join(
        (
            place.account_id,
            "elasticloadbalancing",
            place.region,
            place.load_balancer.replace("/", "."),
            f"{end:%Y%m%dT%H%MZ}",
            _NODE,
            random,
        )
    )
    prefix = f"{place.prefix}/" if place.prefix else ""
    folder = f"AWSLogs/{place.account_id}/elasticloadbalancing/{place.region}/{end:%Y/%m/%d}"
    return f"{prefix}{folder}/{name}.log.gz"


def _place(load_balancer_arn: str) -> LogDestination | None:
    """Return where the load balancer logs to, or None where it does not."""
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

"""Health checks of the targets.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools

from mclass_tf.local.balancer.groups import HEALTHY, INITIAL, GroupState, HealthState, TargetState, target_tls
from mclass_tf.local.balancer.messages import limits
from mclass_tf.local.balancer.snapshot import HealthCheck

_log = logging.getLogger(__name__)
_AGENT = "ELB-HealthChecker/2.0"
_READ = 4096  # bytes per read; the body of an answer is not awaited

TIMED_OUT = HealthState(state="unhealthy", reason="Target.Timeout", description="Request timed out")
FAILED = HealthState(
    state="unhealthy", reason="Target.FailedHealthChecks", description="Health checks failed"
)


def mismatched(status: int) -> HealthState:
    return HealthState(
        state="unhealthy",
        reason="Target.ResponseCodeMismatch",
        description=f"Health checks failed with these codes: [{status}]",
    )


@dataclass(kw_only=True)
class HealthChecker:
    """Checks one target. Each check is sent on time, even if the previous one is still unanswered."""

    target: TargetState
    changed: Callable[[TargetState], None]
    successes: int = 0
    failures: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._under_way: set[asyncio.Task[None]] = set()
        self._next = self._loop.time()
        self._timer = self._loop.call_soon(self._send)
        self._speed = self.target.group.speed

    def reschedule(self) -> None:
        """Adjust the next check to a changed speed of the clock."""
        group = self.target.group
        if group.speed == self._speed:
            return
        now = self._loop.time()
        self._next = now + max(self._next - now, 0) * self._speed / group.speed
        self._speed = group.speed
        self._timer.cancel()
        self._timer = self._loop.call_at(self._next, self._send)

    def stop(self) -> None:
        self._timer.cancel()
        for task in self._under_way:
            task.cancel()

    def _send(self) -> None:
        group = self.target.group
        task = self._loop.create_task(self._check(group))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        now = self._loop.time()
        self._next = max(self._next + group.configuration.health_check.interval / group.speed, now)
        self._timer = self._loop.call_at(self._next, self._send)

    async def _check(self, group: GroupState) -> None:
        health = await check(self.target, group.configuration.health_check)
        self._take(health, group.configuration.health_check)

    def _take(self, health: HealthState, settings: HealthCheck) -> None:
        """Apply a result. A new target needs one success, an unhealthy one the healthy threshold."""
        target, before = self.target, self.target.health
        if health is HEALTHY:
            self.successes, self.failures = self.successes + 1, 0
            enough = before.state == INITIAL.state or self.successes >= settings.healthy_threshold
        else:
            self.successes, self.failures = 0, self.failures + 1
            enough = before.state == "unhealthy" or self.failures >= settings.unhealthy_threshold
        if enough and health != before:
            target.health = health
            self.changed(target)


async def check(target: TargetState, settings: HealthCheck) -> HealthState:
    """Send one health check on a new connection."""
    try:
        async with asyncio.timeout(settings.timeout):
            status = await _ask(target, settings)
    except TimeoutError:
        return TIMED_OUT
    except (OSError, httptools.HttpParserError, EOFError):
        return FAILED
    except Exception:  # noqa: BLE001
        _log.exception("a health check of %s failed", target.name)
        return HealthState(
            state="unhealthy",
            reason="Elb.InternalError",
            description="Health checks failed due to an internal error",
        )
    return HEALTHY if matches(status, settings.matcher) else mismatched(status)


def matches(status: int, matcher: str) -> bool:
    """Return whether the status matches, for matchers such as "200", "200,204" or "200-299"."""
    for part in matcher.split(","):
        first, _, last = part.strip().partition("-")
        if int(first) <= status <= int(last or first):
            return True
    return False


async def _ask(target: TargetState, settings: HealthCheck) -> int:
    if target.address is None:
        await asyncio.Event().wait()  # packets to it get no answer
    host, port = cast("tuple[str, int]", target.address)
    checked = target.port if settings.port == "traffic-port" else int(settings.port)
    if checked != target.port:
        port = checked
    tls = target_tls() if settings.protocol == "HTTPS" else None
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        writer.write(
            f"GET {settings.path} HTTP/1.1\r\nHost: {target.ip}:{checked}\r\n"
            f"Connection: close\r\nUser-Agent: {_AGENT}\r\nAccept-Encoding: gzip, compressed\r\n\r\n".encode()
        )
        return await _read_status(reader)
    finally:
        writer.transport.abort()


class _Head:
    """Sets `status` once the head of the final answer is complete. Interim answers are skipped."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if self.status is None and not 100 <= status < 200:  # noqa: PLR2004
            self.status = status


async def _read_status(reader: asyncio.StreamReader) -> int:
    """Read the complete head. Raise EOFError if it is cut off or too large."""
    head, size = _Head(), 0
    while head.status is None:
        data = await reader.read(_READ)
        size += len(data)
        if not data or size > limits.ANSWER_HEAD + _READ:
            raise EOFError
        head.parser.feed_data(data)
    return head.status

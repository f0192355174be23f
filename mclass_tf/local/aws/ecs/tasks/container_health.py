"""Runs the health checks of containers as Docker and ECS do.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf.local.clock import Clock
from mclass_tf.local.containers.driver import CHECK_TIMED_OUT, RunningContainer

HEALTHY, UNHEALTHY, UNKNOWN = "HEALTHY", "UNHEALTHY", "UNKNOWN"
_OUTPUT_KEPT = 4096
_TIMED_OUT = "Health check exceeded timeout ({}s)"  # Docker's wording


@dataclass(frozen=True, kw_only=True)
class ContainerHealthCheck:
    """Times in seconds: AWS's, except `timeout`, which is real."""

    command: tuple[str, ...]
    interval: int
    timeout: int
    retries: int
    start_period: int


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of one check. `status` is the health of the container after it."""

    status: str
    exit_code: int
    output: str


def parse_health_check(definition: Mapping[str, Any]) -> ContainerHealthCheck | None:
    check = definition.get("healthCheck") or {}
    command = tuple(check.get("command") or ())
    if not command or command[0] == "NONE":
        return None
    return ContainerHealthCheck(
        command=command,
        interval=check.get("interval") or 30,
        timeout=check.get("timeout") or 5,
        retries=check.get("retries") or 3,
        start_period=check.get("startPeriod") or 0,
    )


async def watch(
    check: ContainerHealthCheck,
    *,
    running: RunningContainer,
    clock: Clock,
    report: Callable[[CheckResult], None],
) -> None:
    """Check forever and report each result.

    The first check runs one interval after the start. Failures in the start period do not count until a check succeeds.
    After that, `retries` failures in a row make the container unhealthy, and one success makes it healthy.
    """
    status, failures = UNKNOWN, 0
    started = asyncio.get_running_loop().time()
    while True:
        await clock.sleep(check.interval)
        began = asyncio.get_running_loop().time()
        code, output = await _run(check, running)
        in_start_period = status == UNKNOWN and began - started < clock.real(check.start_period)
        if code == 0:
            status, failures = HEALTHY, 0
        elif not in_start_period:
            failures += 1
            status = UNHEALTHY if failures >= check.retries else status
        report(CheckResult(status=status, exit_code=code, output=output[-_OUTPUT_KEPT:]))


def task_health(containers: Iterable[tuple[bool, ContainerHealthCheck | None, str]]) -> str:
    """Return the health of a task from (is essential, check, health) of each container; only essential ones with a check count."""
    statuses = {status for is_essential, check, status in containers if is_essential and check is not None}
    if UNHEALTHY in statuses:
        return UNHEALTHY
    return HEALTHY if statuses == {HEALTHY} else UNKNOWN


async def _run(check: ContainerHealthCheck, running: RunningContainer) -> tuple[int, str]:
    code, output = await running.run_check(check.command, seconds=check.timeout)
    return code, output or _TIMED_OUT.format(check.timeout) if code == CHECK_TIMED_OUT else output

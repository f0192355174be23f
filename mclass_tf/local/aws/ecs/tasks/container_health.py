"""The health check of a container, as Docker and ECS run it.

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
_TIMED_OUT = "Health check exceeded timeout ({}s)"  # as docker says it


@dataclass(frozen=True, kw_only=True)
class ContainerHealthCheck:
    """Times in seconds; those of the control plane are AWS's, `timeout` is the container's own."""

    command: tuple[str, ...]
    interval: int
    timeout: int
    retries: int
    start_period: int


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The outcome of one check, and the container's health by it."""

    status: str
    exit_code: int
    output: str


def of_container(definition: Mapping[str, Any]) -> ContainerHealthCheck | None:
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
    """Check for ever, and tell each result.

    The first check comes an interval after the start. Failures within the start period do not count until a check has
    succeeded; after it, `retries` in a row make the container unhealthy, and one success makes it healthy.
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


def of_task(containers: Iterable[tuple[bool, ContainerHealthCheck | None, str]]) -> str:
    """The task's health by its essential containers that have a check; each with whether it is essential and its health."""
    statuses = {status for is_essential, check, status in containers if is_essential and check is not None}
    if UNHEALTHY in statuses:
        return UNHEALTHY
    return HEALTHY if statuses == {HEALTHY} else UNKNOWN


async def _run(check: ContainerHealthCheck, running: RunningContainer) -> tuple[int, str]:
    code, output = await running.run_check(check.command, seconds=check.timeout)
    return code, output or _TIMED_OUT.format(check.timeout) if code == CHECK_TIMED_OUT else output

"""CPU cost of an idle local AWS: after the start, and after a thousand health checks were cancelled by their timeout."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.command import run
from benchmarks.figure import Figure, Result
from benchmarks.stage import PROJECT, Stage, stage
from mclass_tf import local
from mclass_tf.local.clock import FASTEST, SLOWEST
from tests.local import rollouts
from tests.local.conftest import account_of
from tests.local.rollouts import Rollouts

PERCENT = 3.0  # of one core, at speed 1
CHECKS = 1000
_SECONDS = 20.0  # of measurement
_SETTLED = 3.0  # seconds from its last work to the first of these
_PATIENCE = 600.0
_ACCOUNT = "333333333333"
_TIMEOUT = 2  # seconds: the minimum of ECS
_CONTAINERS = 10  # per task, ECS's maximum: one is healthy, the checks of the others never end
_TASKS_A_CALL = 10
_TASKS = _TASKS_A_CALL * (os.cpu_count() or 1)
_ENDLESS = _TASKS * (_CONTAINERS - 1)
_RETRIES = math.ceil(CHECKS / _ENDLESS)


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Percent of one core before and after, timed-out checks in between, and the same for a driver alone."""

    fresh: float
    after: float
    checks: int
    driver: Mapping[str, float]


def measure(rounds: int) -> Result:
    found = [_round() for _ in range(rounds)]
    fresh = median(each.fresh for each in found)
    return Result(
        benchmark="idle",
        figures=(
            Figure(
                name="idle local AWS at speed 1, after 1,000 cancelled health checks",
                value=median(each.after for each in found),
                unit="%",
                limit=PERCENT,
                note=f"of one core; {min(each.checks for each in found):,} checks, {_ENDLESS} at once",
            ),
            Figure(
                name="its driver alone, after 1,000 checks cancelled before their programs ran",
                value=median(each.driver["after"] for each in found),
                unit="%",
                limit=PERCENT,
                note=f"before: {median(each.driver['before'] for each in found):.1f} %",
            ),
            Figure(name="idle local AWS, just up", value=fresh, unit="%"),
        ),
        runs={
            "just up": [each.fresh for each in found],
            "after": [each.after for each in found],
            "driver": [each.driver["after"] for each in found],
        },
    )


def _round() -> Idle:
    with stage() as made:
        home = Path(made.env["MCLASS_TF_HOME"])
        server = local.up(home=home, port=0, speed=SLOWEST)
        fresh = _percent(server.pid)
        world = rollouts.make(account_of(server, _ACCOUNT), desired=0)
        local.up(home=home, port=0, speed=FASTEST)
        checks = _cancel_checks(world)
        local.up(home=home, port=0, speed=SLOWEST)
        after = _percent(server.pid)
        return Idle(fresh=fresh, after=after, checks=checks, driver=_driver(made))


def _driver(made: Stage) -> Mapping[str, float]:
    folder = made.folder / "driver"
    folder.mkdir()
    argv = (sys.executable, "-m", "benchmarks.cancelled_checks", str(folder), str(CHECKS))
    found: dict[str, float] = json.loads(run(argv, folder=PROJECT, env=made.env).stdout)
    if found["cancelled"] != CHECKS:
        raise RuntimeError(f"{found['cancelled']:.0f} of {CHECKS} checks were cancelled")
    return found


def _percent(pid: int) -> float:
    """Return the CPU time of the server and its descendants, in percent of one core."""
    time.sleep(_SETTLED)
    began, before = time.monotonic(), _cpu_seconds(pid)
    time.sleep(_SECONDS)
    return 100 * (_cpu_seconds(pid) - before) / (time.monotonic() - began)


def _cpu_seconds(pid: int) -> float:
    server = psutil.Process(pid)
    return sum(sum(process.cpu_times()[:4]) for process in (server, *server.children(recursive=True)))


def _cancel_checks(world: Rollouts) -> int:
    """Have tasks checked by programs that never end; return how many checks timed out for certain.

    A container is unhealthy after `retries` failures in a row, and by nothing else than its timeout can one of these fail. The
    checks of the others follow each other at once, so that most are being started when the end of their container cancels them.
    """
    ecs = world.client("ecs")
    definition = _register(world)
    network = world.service["networkConfiguration"]
    arns = [
        task["taskArn"]
        for _ in range(_TASKS // _TASKS_A_CALL)
        for task in ecs.run_task(
            cluster="c",
            taskDefinition=definition,
            count=_TASKS_A_CALL,
            launchType="FARGATE",
            networkConfiguration=network,
        )["tasks"]
    ]
    _wait(lambda: _unhealthy(_described(ecs, arns)) == _ENDLESS)
    for arn in arns:
        ecs.stop_task(cluster="c", task=arn)
    _wait(lambda: all(task["lastStatus"] == "STOPPED" for task in _described(ecs, arns)))
    return _ENDLESS * _RETRIES


def _register(world: Rollouts) -> str:
    arn: str = world.client("ecs").register_task_definition(
        family="unhealthy",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn=f"arn:aws:iam::{world.account.account_id}:role/mclass-execution",
        containerDefinitions=[
            {
                "name": f"c{number}",
                "image": world.image,
                "entryPoint": ["sleep"],
                "command": ["100000"],
                "stopTimeout": 2,
                "healthCheck": {
                    "command": ["CMD", "sleep", "100000"] if number else ["CMD", "true"],
                    "interval": 5,
                    "timeout": _TIMEOUT,
                    "retries": _RETRIES,
                },
            }
            for number in range(_CONTAINERS)
        ],
    )["taskDefinition"]["taskDefinitionArn"]
    return arn


def _described(ecs: Any, arns: Sequence[str]) -> list[dict[str, Any]]:
    """Describe the tasks, a hundred per call as ECS allows."""
    return [
        task
        for first in range(0, len(arns), 100)
        for task in ecs.describe_tasks(cluster="c", tasks=arns[first : first + 100])["tasks"]
    ]


def _unhealthy(tasks: Iterable[dict[str, Any]]) -> int:
    return sum(container["healthStatus"] == "UNHEALTHY" for task in tasks for container in task["containers"])


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"still not after {_PATIENCE:.0f} s")
        time.sleep(0.5)

"""Effect of a thousand slow and hostile clients on the requests of others, and on the memory of the load balancer process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import psutil

from benchmarks.balancer import serving, target
from benchmarks.command import run
from benchmarks.figure import Figure, Result
from benchmarks.stage import PROJECT

GROWTH = 64.0  # MB that the process may grow by
_HOSTILE = 1000  # requests, all at once
_RATE, _SECONDS = 200, 20
_WARM = 3  # seconds without attackers before
_PATH = "/version"
_SAMPLE = 0.1  # seconds between memory samples


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """The measurements of a round: sizes in MB, times in ms."""

    before: float
    peak: float
    good: dict[str, Any]


def measure(rounds: int) -> Result:
    attacks = [_round() for _ in range(rounds)]
    requests = sum(each.good["asked"] for each in attacks)
    return Result(
        benchmark="hostile",
        figures=(
            Figure(
                name=f"{_RATE}/s beside {_HOSTILE:,} hostile clients: requests that failed",
                value=sum(each.good["failed"] for each in attacks),
                unit="",
                limit=0,
                note=f"of {requests:,}",
            ),
            Figure(
                name="the load balancers' process: growth of its memory under them",
                value=max(each.peak - each.before for each in attacks),
                unit="MB",
                limit=GROWTH,
                note=f"from {median(each.before for each in attacks):.0f} MB, the highest of {len(attacks)} rounds",
            ),
            Figure(
                name=f"median at {_RATE}/s beside them",
                value=median(each.good["median"] for each in attacks),
                unit="ms",
            ),
        ),
        runs={
            "failed": [float(each.good["failed"]) for each in attacks],
            "growth in MB": [each.peak - each.before for each in attacks],
            "median in ms": [each.good["median"] for each in attacks],
            "p99 in ms": [each.good["p99"] for each in attacks],
        },
    )


def _round() -> Attacked:
    with ExitStack() as stack:
        targets = [stack.enter_context(target()) for _ in range(2)]
        made = stack.enter_context(serving(targets))
        _ask(made.port, _WARM)
        memory = stack.enter_context(_memory(made.pid))
        before = memory[-1]
        stack.enter_context(_attackers(made.port))
        good = _ask(made.port, _SECONDS)
        return Attacked(before=before, peak=max(memory), good=good)


def _ask(port: int, seconds: int) -> dict[str, Any]:
    argv = (sys.executable, "-m", "benchmarks.paced_client", str(port), _PATH, str(_RATE), str(seconds))
    result: dict[str, Any] = json.loads(run(argv, folder=PROJECT, env=os.environ).stdout)
    return result


@contextmanager
def _attackers(port: int) -> Iterator[None]:
    """Run the attackers; the slow ones attack until the end."""
    argv = (sys.executable, "-m", "tests.local.hostile_clients", str(port), str(_HOSTILE), str(_SECONDS))
    started = subprocess.Popen(argv, cwd=PROJECT)
    try:
        yield
    finally:
        started.kill()
        started.wait()


@contextmanager
def _memory(pid: int) -> Iterator[list[float]]:
    """Yield samples of the process's memory in MB, which grow while it runs."""
    process = psutil.Process(pid)
    samples = [process.memory_info().rss / 1e6]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_SAMPLE):
            samples.append(process.memory_info().rss / 1e6)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield samples
    finally:
        ended.set()
        looking.join()

"""Duration of `local up`, and memory of the local AWS before and after both environments are applied."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.command import Took, typical
from benchmarks.figure import Figure, Result
from benchmarks.stage import Stage, stage

SECONDS = 4.0
MEGABYTES = 300.0


def measure(rounds: int) -> Result:
    starts: list[Took] = []
    fresh = 0.0
    for _ in range(rounds):
        with stage() as made:
            took, pid = _up(made)
            starts.append(took)
            fresh = max(fresh, megabytes(pid, "VmHWM"))
    with stage() as made:
        _, pid = _up(made)
        made.mclass_tf("apply", "--all", "--local", "--yes")
        made.mclass_tf("plan", "--all", "--local")
        full = megabytes(pid, "VmHWM")
    return Result(
        benchmark="local-up",
        figures=(
            Figure(name="`local up`", value=typical(starts).wall, unit="s", limit=SECONDS),
            Figure(name="local AWS, just up", value=fresh, unit="MB", limit=MEGABYTES, note="peak RSS"),
            Figure(
                name="local AWS, dev and prod applied and planned again",
                value=full,
                unit="MB",
                limit=MEGABYTES,
                note="peak RSS",
            ),
        ),
        runs={"local up": starts},
    )


def _up(made: Stage) -> tuple[Took, int]:
    done = made.mclass_tf("local", "up", "--port", "0", "--json")
    return done.took, int(json.loads(done.stdout)["pid"])


def megabytes(pid: int, key: str) -> float:
    """Return a figure of Linux's /proc/PID/status (kB of 1024 bytes) in MB of 10^6."""
    match = re.search(rf"^{key}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if match is None:
        raise RuntimeError(f"the kernel does not tell {key} of process {pid}")
    return int(match[1]) * 1024 / 1e6

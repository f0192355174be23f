"""Duration of saving a snapshot and of starting from it, compared with an empty start, and its size and memory."""

from __future__ import annotations

import json

from benchmarks.command import Took, typical
from benchmarks.figure import Figure, Result
from benchmarks.local_up import megabytes
from benchmarks.stage import Stage, stage

SECONDS = 2.0
MEGABYTES = 300.0


def measure(rounds: int) -> Result:
    """Measure with dev and prod applied and a version serving in dev, at AWS's own speed."""
    saves: list[Took] = []
    restores: list[Took] = []
    starts: list[Took] = []
    peak = 0.0
    with stage() as made:
        path = str(made.folder / "dev.snapshot")
        _release(made)
        size = 0
        for _ in range(rounds):
            done = made.mclass_tf("local", "save", path, "--json")
            saves.append(done.took)
            size = int(json.loads(done.stdout)["bytes"])
        for _ in range(rounds):
            for took, options in ((restores, ("--from", path)), (starts, ())):
                made.mclass_tf("local", "down")
                done = made.mclass_tf("local", "up", "--port", "0", "--json", *options)
                took.append(done.took)
                if options:
                    peak = max(peak, megabytes(int(json.loads(done.stdout)["pid"]), "VmHWM"))
    restored, empty = typical(restores).wall, typical(starts).wall
    return Result(
        benchmark="snapshot",
        figures=(
            Figure(
                name="`local up --from`, until tasks run and load balancers listen",
                value=restored,
                unit="s",
                limit=SECONDS,
                note=f"floor, an empty `local up`: {empty:.2f} s",
            ),
            Figure(name="local AWS, just restored", value=peak, unit="MB", limit=MEGABYTES, note="peak RSS"),
            Figure(
                name="`local save`",
                value=typical(saves).wall,
                unit="s",
                note=f"a file of {size / 1e6:.1f} MB",
            ),
        ),
        runs={"local up --from": restores, "local up": starts, "local save": saves},
    )


def _release(made: Stage) -> None:
    """Apply both environments, and release a version in dev."""
    made.mclass_tf("local", "up", "--port", "0")
    for command in (
        ("apply", "--all", "--local", "--yes"),
        ("build", "--local"),
        ("push", "dev", "--local"),
        ("release", "dev", "--local", "--yes"),
    ):
        made.mclass_tf(*command)

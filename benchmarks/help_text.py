"""Duration of `--help`, compared with an empty Python process."""

from __future__ import annotations

import sys

from benchmarks.command import Took, run, typical
from benchmarks.figure import Figure, Result
from benchmarks.stage import PROJECT, stage

LIMIT = 0.3  # seconds
_EACH = 5  # runs of either command in a round: they are short


def measure(rounds: int) -> Result:
    ours: list[Took] = []
    floor: list[Took] = []
    with stage() as made:
        for _ in range(rounds * _EACH):
            ours.append(made.mclass_tf("--help").took)
            floor.append(run((sys.executable, "-c", "pass"), folder=PROJECT, env=made.env).took)
    helped, nothing = typical(ours).wall, typical(floor).wall
    return Result(
        benchmark="help",
        figures=(
            Figure(name="`--help`", value=helped, unit="s", limit=LIMIT),
            Figure(
                name="floor: `python -c pass`", value=nothing, unit="s", note=f"{helped / nothing:.1f} times"
            ),
        ),
        runs={"--help": ours, "python -c pass": floor},
    )

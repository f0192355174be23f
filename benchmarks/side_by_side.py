"""Duration of dev and prod together, compared with the slower one alone, each time on a new local AWS."""

from __future__ import annotations

from benchmarks.command import Took, typical
from benchmarks.figure import Figure, Result
from benchmarks.stage import ENVIRONMENTS, local_aws

LIMIT = 1.5
_ALL = "--all"


def measure(rounds: int) -> Result:
    plans: dict[str, list[Took]] = {what: [] for what in (*ENVIRONMENTS, _ALL)}
    applies: dict[str, list[Took]] = {what: [] for what in plans}
    for turn in range(rounds):
        for what in sorted(plans, reverse=bool(turn % 2)):
            with local_aws() as made:
                plans[what].append(made.mclass_tf("plan", what, "--local").took)
                applies[what].append(made.mclass_tf("apply", what, "--local", "--yes").took)
    apply = {what: typical(took).wall for what, took in applies.items()}
    whole = {what: typical(plans[what]).wall + apply[what] for what in plans}
    told = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in apply.items())
    return Result(
        benchmark="side-by-side",
        figures=(
            Figure(name="`apply --all` / slower alone", value=_ratio(apply), unit="", limit=LIMIT, note=told),
            Figure(
                name="`plan --all` and `apply --all` / slower alone",
                value=_ratio(whole),
                unit="",
                limit=LIMIT,
            ),
        ),
        runs={
            f"{verb} {what}": runs[what]
            for verb, runs in (("plan", plans), ("apply", applies))
            for what in runs
        },
    )


def _ratio(seconds: dict[str, float]) -> float:
    return seconds[_ALL] / max(seconds[name] for name in ENVIRONMENTS)

"""Duration of `plan ENV`, compared with the same steps by hand."""

from __future__ import annotations

import operator
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from statistics import median

from benchmarks.command import CommandFailedError, Took, run, typical
from benchmarks.figure import Figure, Result
from benchmarks.stage import ENVIRONMENTS, PROJECT, Stage, local_aws

LIMIT = 0.80
_FINDINGS = (0, 1)  # by hand Checkov has no waivers: it exits with 1 although the gate passes
STEPS = ("terraform init", "terraform plan", "terraform show", "checkov -f", "checkov -d")


@dataclass(frozen=True, kw_only=True)
class Hand:
    """The manual steps, in a shell set up by `local env ENV`, with their own data directory."""

    environment: str
    env: Mapping[str, str]
    folder: Path

    @classmethod
    def of(cls, stage: Stage, environment: str) -> Hand:
        folder = stage.folder / "hand" / environment
        folder.mkdir(parents=True)
        # Once a day Checkov asks PyPI for updates: keep the network out of both measurements.
        env = stage.shell(environment) | {
            "TF_DATA_DIR": str(folder / "data"),
            "CKV_SKIP_PACKAGE_UPDATE_CHECK": "true",
        }
        return cls(environment=environment, env=env, folder=folder)

    def forget_init(self) -> None:
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def type_all(self) -> dict[str, Took]:
        """Run every step. TF_CLI_ARGS_* of the shell name backend.hcl and terraform.tfvars."""
        plan, document = self.folder / "plan.tfplan", self.folder / "plan.json"
        variables = PROJECT / "environments" / self.environment / "terraform.tfvars"
        return {
            "terraform init": self._terraform("init"),
            "terraform plan": self._terraform("plan", f"-out={plan}"),
            "terraform show": self._terraform("show", "-json", str(plan), into=document),
            "checkov -f": self._checkov("-f", str(document)),
            "checkov -d": self._checkov("-d", "terraform", "--var-file", str(variables)),
        }

    def _terraform(self, *arguments: str, into: Path | None = None) -> Took:
        return run(("terraform", *arguments), folder=PROJECT / "terraform", env=self.env, into=into).took

    def _checkov(self, *arguments: str) -> Took:
        program = str(Path(sys.executable).with_name("checkov"))
        argv = (program, "--config-file", "policy/checkov.yaml", *arguments)
        done = run(argv, folder=PROJECT, env=self.env, allowed=_FINDINGS)
        if "Passed checks:" not in done.stdout:
            raise CommandFailedError(f"{' '.join(argv)} checked nothing")
        return done.took


@dataclass(frozen=True, kw_only=True)
class Start:
    """The start of both sides: `cold` without a data directory, else initialised."""

    environment: str
    cold: bool

    def __str__(self) -> str:
        return f"{self.environment} {'cold' if self.cold else 'warm'}"


def measure(rounds: int) -> Result:
    starts = [Start(environment=name, cold=cold) for name in ENVIRONMENTS for cold in (True, False)]
    ours: dict[Start, list[Took]] = {start: [] for start in starts}
    typed: dict[Start, list[dict[str, Took]]] = {start: [] for start in starts}
    with local_aws() as made:
        hands = {name: Hand.of(made, name) for name in ENVIRONMENTS}
        for turn in range(rounds):
            for start in starts:
                hand = hands[start.environment]
                # The second side finds the files cached, so they take turns.
                sides = ("ours", "hand") if turn % 2 else ("hand", "ours")
                for side in sides:
                    if side == "ours":
                        ours[start].append(_plan(made, start))
                    else:
                        typed[start].append(_type(hand, start))
    figures = [figure for start in starts for figure in _figures(start, ours[start], typed[start])]
    return Result(benchmark="plan", figures=tuple(figures), runs=_runs(ours, typed))


def _plan(made: Stage, start: Start) -> Took:
    if start.cold:
        shutil.rmtree(
            made.folder / "home" / "work" / "local" / start.environment / "data", ignore_errors=True
        )
    return made.mclass_tf("plan", start.environment, "--local").took


def _type(hand: Hand, start: Start) -> dict[str, Took]:
    if start.cold:
        hand.forget_init()
    return hand.type_all()


def _figures(start: Start, ours: list[Took], typed: list[dict[str, Took]]) -> list[Figure]:
    steps = {step: typical([took[step] for took in typed]).wall for step in STEPS}
    told = ", ".join(f"{step} {seconds:.1f}" for step, seconds in steps.items())

    def against(name: str, *left_out: str, limit: float | None = None, note: str = "") -> Figure:
        hands = [_sum(took for step, took in turn.items() if step not in left_out) for turn in typed]
        # Both sides of a turn have the same load; another turn may have a different load.
        ratios = [mine.wall / hand.wall for mine, hand in zip(ours, hands, strict=True)]
        plan, hand = typical(ours), typical(hands)
        said = (
            f"rounds {min(ratios):.2f} to {max(ratios):.2f}, {plan.wall:.1f} s / {hand.wall:.1f} s, "
            f"CPU {plan.cpu:.1f} s / {hand.cpu:.1f} s{note}"
        )
        return Figure(name=f"`plan`, {start} / {name}", value=median(ratios), unit="", limit=limit, note=said)

    whole = against("init, plan, show, both Checkov scans", limit=LIMIT, note=f" ({told})")
    if start.cold:
        return [whole, against("the same, the plan's scan alone", "checkov -d")]
    return [
        whole,
        against("the same without init", "terraform init", limit=LIMIT),
        against("without init, the plan's scan alone", "terraform init", "checkov -d"),
    ]


def _sum(took: Iterable[Took]) -> Took:
    return reduce(operator.add, took)


def _runs(
    ours: Mapping[Start, list[Took]], typed: Mapping[Start, list[dict[str, Took]]]
) -> dict[str, list[Took]]:
    found = {f"plan, {start}": runs for start, runs in ours.items()}
    for start, turns in typed.items():
        found |= {f"{step}, {start}": [turn[step] for turn in turns] for step in STEPS}
    return found

"""Duration of `terraform test` for every module in turn, with the real provider."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.command import Took, run, typical
from benchmarks.figure import Figure, Result
from benchmarks.stage import PROJECT, stage

LIMIT = 60.0  # seconds


def measure(rounds: int) -> Result:
    inits: list[Took] = []
    tests: dict[str, list[Took]] = {}
    with stage() as made:
        made.mclass_tf("local", "up", "--port", "0")
        # For the CLI configuration that names the provider mirror; the tests make no calls.
        env = {
            k: v
            for k, v in made.shell("dev").items()
            if not k.startswith(("TF_CLI_ARGS", "TF_VAR_", "TF_DATA"))
        }
        for module in _copies(made.folder / "modules"):
            inits.append(run(("terraform", "init", "-backend=false"), folder=module, env=env).took)
            tests[module.name] = [
                run(("terraform", "test"), folder=module, env=env).took for _ in range(rounds)
            ]
    each = {name: typical(runs).wall for name, runs in tests.items()}
    note = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in each.items())
    initialised = sum(took.wall for took in inits)
    return Result(
        benchmark="module-tests",
        figures=(
            Figure(
                name="`terraform test`, all modules",
                value=sum(each.values()),
                unit="s",
                limit=LIMIT,
                note=note,
            ),
            Figure(name="their `terraform init`, once", value=initialised, unit="s"),
        ),
        runs=tests,
    )


def _copies(folder: Path) -> list[Path]:
    """Return copies of the modules, because init leaves a lock file."""
    shutil.copytree(PROJECT / "modules", folder, ignore=shutil.ignore_patterns(".terraform*"))
    return sorted(path.parent for path in folder.glob("*/tests"))

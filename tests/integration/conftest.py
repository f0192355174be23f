"""Options of the integration tests: which applied environment to look at.

pytest tests/integration --environment prod                  # on AWS, with the credentials of the environment's account
pytest tests/integration --environment prod --local          # on the local AWS that is up
pytest tests/integration --environment prod --outputs FILE   # outputs from a file: a JSON object, name to value
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import aws, environment, target, verify

PROJECT = Path(__file__).parents[2]
WHY_NOT = "no environment is named: pytest tests/integration --environment ENV"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The options as they were given; `name` is None in a run of the whole suite."""

    name: str | None
    outputs: Path | None
    use_local: bool

    @classmethod
    def of(cls, config: pytest.Config) -> Chosen:
        # In a run of all tests this file is read too late for its options to exist: hence the defaults.
        outputs = config.getoption("--outputs", default=None)
        return cls(
            name=config.getoption("--environment", default=None),
            outputs=Path(outputs) if outputs else None,
            use_local=bool(config.getoption("--local", default=False)),
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mclass-tf", "integration tests against an applied environment")
    group.addoption("--environment", metavar="ENV", help="the applied environment to verify")
    group.addoption("--outputs", metavar="FILE", help="its outputs as JSON, instead of those of its state")
    group.addoption("--local", action="store_true", help="the one on the local AWS")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `check` every check; one test that is skipped, with the reason, where no environment is named."""
    if "check" not in metafunc.fixturenames:
        return
    if Chosen.of(metafunc.config).name is None:
        nothing = pytest.param(None, marks=pytest.mark.skip(reason=WHY_NOT), id="no environment")
        metafunc.parametrize("check", [nothing])
        return
    checks = verify.checks()
    metafunc.parametrize("check", checks, ids=[f"{check.group}: {check.name}" for check in checks])


@pytest.fixture(scope="session")
def chosen(pytestconfig: pytest.Config) -> Chosen:
    return Chosen.of(pytestconfig)


@pytest.fixture(scope="session")
def outputs(chosen: Chosen) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(_outputs_of(chosen))
    return found


def _outputs_of(chosen: Chosen) -> str:
    if chosen.outputs is not None:
        return chosen.outputs.read_text(encoding="utf-8")
    command = [sys.executable, "-m", "mclass_tf", "output", str(chosen.name), "--json"]
    done = subprocess.run(
        [*command, *(["--local"] if chosen.use_local else [])],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"there are no outputs to verify: {done.stderr.strip()}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="session")
def world(chosen: Chosen, outputs: Mapping[str, Any]) -> verify.World:
    """Return the applied environment, entered as `verify ENV` enters it; read once for all tests of a worker."""
    loaded = environment.load(PROJECT, str(chosen.name))
    home = Path(os.environ.get("MCLASS_TF_HOME") or PROJECT / ".mclass")
    where = target.find(os.environ, use_local=chosen.use_local, home=home)
    entered = aws.connect(where.access(loaded), account_id=loaded.account_id, role_arn=where.role_arn(loaded))
    return verify.open_world(outputs, entered)

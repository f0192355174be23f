"""Options of the integration tests: which applied environment to look at.

pytest tests/integration --environment prod                  # on AWS, with the credentials of the environment's account
pytest tests/integration --environment prod --local          # on the local AWS that is up
pytest tests/integration --environment prod --outputs FILE   # outputs from a file: a JSON object, name to value
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import flows, verify
from mclass_tf.errors import MclassError
from mclass_tf.session import Project, Session, open_session
from mclass_tf.terraform import Engine

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
def session(chosen: Chosen) -> Session:
    """Enter the environment as `verify ENV` enters it."""
    project = Project.find(os.environ, PROJECT)
    try:
        return open_session(
            project, str(chosen.name), use_local=chosen.use_local, engine=_no_engine, report=print
        )
    except MclassError as error:
        pytest.fail(f"{error}\nnext: {error.hint}", pytrace=False)


@pytest.fixture(scope="session")
def outputs(chosen: Chosen, session: Session) -> Mapping[str, Any]:
    if chosen.outputs is not None:
        found: Mapping[str, Any] = json.loads(chosen.outputs.read_text(encoding="utf-8"))
        return found
    try:
        return flows.applied_state(session).outputs
    except MclassError as error:
        pytest.fail(f"{error}\nnext: {error.hint}", pytrace=False)


@pytest.fixture(scope="session")
def world(session: Session, outputs: Mapping[str, Any]) -> verify.World:
    """Return the applied environment; what several tests look at is read once for all tests of a worker."""
    return verify.open_world(outputs, session.aws, fetch=flows.fetcher(session))


def _no_engine() -> Engine:
    raise AssertionError("a verification never runs Terraform")

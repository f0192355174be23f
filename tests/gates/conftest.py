"""Fixtures: a project for each test, real plans of it, and the gates with real Checkov."""

from __future__ import annotations

import copy
import datetime as dt
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import environment, gates
from mclass_tf.gates.checkov import CheckovGate
from mclass_tf.plan import Plan, SavedPlan, digest
from tests.scanners import scanner

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / "tests/unit/data/gates"
TODAY = dt.date(2027, 1, 15)

HTTP_INSIDE = """
[[waiver]]
check        = "CKV_AWS_378"
resource     = "module.service.aws_lb_target_group.this"
environments = ["sound"]
reason       = "TLS ends at the load balancer, inside the VPC."
expires      = 2027-06-30
"""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Runs `gates.evaluate` on a plan of `project`, after `edit` has changed it."""

    project: Path
    gate: CheckovGate = field(default_factory=lambda: CheckovGate(scanner=scanner()))

    def document(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((DATA / f"plans/{name}.json").read_text())
        return document

    def subject(self, name: str, *, edit: Callable[[dict[str, Any]], object] | None = None) -> gates.Subject:
        document = copy.deepcopy(self.document(name))
        if edit is not None:
            edit(document)
        return gates.Subject(
            plan=Plan.parse(document), environment=environment.load(self.project, name), project=self.project
        )

    def saved(self, name: str) -> SavedPlan:
        file = self.project / f"{name}.tfplan"
        file.write_bytes(b"the bytes of a plan")
        return SavedPlan(
            path=file,
            environment=name,
            target="aws",
            sha256=digest(file),
            lineage="",
            serial=0,
            has_changes=True,
            created="2027-01-15T00:00:00+00:00",
            inputs={},
            requested_image=None,
            image_in_force="",
        )

    def __call__(
        self,
        name: str = "sound",
        *,
        edit: Callable[[dict[str, Any]], object] | None = None,
        today: dt.date = TODAY,
    ) -> gates.GateDecision:
        subject = self.subject(name, edit=edit)
        return gates.evaluate(self.saved(name), subject, gates=(self.gate,), today=today)

    def failed(
        self, name: str = "sound", *, edit: Callable[[dict[str, Any]], object] | None = None
    ) -> set[tuple[str, str]]:
        """Return check and resource of each finding."""
        (verdict,) = self(name, edit=edit).verdicts
        return {(finding.check, finding.resource) for finding in verdict.failed}


def create_project(folder: Path) -> Path:
    shutil.copytree(DATA / "project", folder)
    shutil.copytree(
        REPOSITORY / "policy", folder / "policy", ignore=shutil.ignore_patterns("__pycache__", "waivers.toml")
    )
    (folder / "policy/waivers.toml").write_text(HTTP_INSIDE)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return create_project(tmp_path / "project")


@pytest.fixture
def judge(project: Path) -> Judge:
    return Judge(project=project)


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """A judge for tests that change plans but no files, so that its HCL is scanned once."""
    return Judge(project=create_project(tmp_path_factory.mktemp("shared") / "project"))


def planned(document: dict[str, Any], address: str) -> dict[str, Any]:
    """Return the planned values of a resource, to change in place."""

    def search(module: dict[str, Any]) -> dict[str, Any] | None:
        for resource in module.get("resources", []):
            if resource["address"] == address:
                values: dict[str, Any] = resource["values"]
                return values
        return next((found for child in module.get("child_modules", []) if (found := search(child))), None)

    values = search(document["planned_values"]["root_module"])
    assert values is not None, address
    return values


@pytest.fixture
def values_of() -> Callable[[dict[str, Any], str], dict[str, Any]]:
    return planned

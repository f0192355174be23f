"""The workflows keep to the rules: actions pinned by commit, least permissions, a time limit, no credentials left behind."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it comes with Checkov, its stubs do not

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))

_PINNED = re.compile(r"uses: [\w.-]+(?:/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def workflow(file: Path) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_every_action_is_pinned_by_commit_and_names_its_version(file: Path) -> None:
    used = [line.strip().removeprefix("- ") for line in file.read_text().splitlines() if "uses:" in line]

    assert used
    assert [line for line in used if not _PINNED.fullmatch(line)] == []


def test_a_workflow_has_no_permissions_but_those_of_its_jobs(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {}
    assert all(job["permissions"] for job in workflow["jobs"].values())


def test_only_the_upload_of_findings_and_the_update_of_dependencies_may_write(
    workflow: dict[Any, Any],
) -> None:
    written = {
        (name, scope)
        for name, job in workflow["jobs"].items()
        for scope, right in job["permissions"].items()
        if right == "write"
    }

    assert written <= {("gate", "security-events"), ("update", "contents"), ("update", "pull-requests")}


def test_every_job_has_a_time_limit(workflow: dict[Any, Any]) -> None:
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


def test_a_checkout_leaves_no_credentials_behind(workflow: dict[Any, Any]) -> None:
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]

    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_no_command_contains_an_expression(workflow: dict[Any, Any]) -> None:
    """A value of the event would be pasted into the script: it is handed over as a variable."""
    assert [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")] == []


def test_nox_is_called_with_sessions_that_exist(workflow: dict[Any, Any]) -> None:
    known = set(re.findall(r"@nox\.session\ndef (\w+)", (ROOT / "noxfile.py").read_text(encoding="utf-8")))
    called = {name for step in steps(workflow) for name in re.findall(r"nox -s (\w+)", step.get("run", ""))}

    assert called
    assert called <= known


def test_the_fast_tests_run_on_every_python_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"])))
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["tests"][
        "strategy"
    ]["matrix"]
    oldest = project["requires-python"].removeprefix(">=")
    newer = re.findall(
        r"3\.\d+",
        (ROOT / ".ci/newer-python")
        .read_text(encoding="utf-8")
        .partition("for version in")[2]
        .partition(";")[0],
    )

    assert oldest in named
    assert {row["python"] for row in matrix["include"] if row["speed"] == "fast"} == named
    assert newer == sorted(named - {oldest}, reverse=True)

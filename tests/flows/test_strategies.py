"""A release by a strategy that shifts traffic, of real tasks behind a real load balancer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, CommandLine
from tests.flows.released import CLUSTER, SERVICE, Dev

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("strategies")]

_RELEASE = '\n[release]\nstrategy = "blue-green"\nbake_minutes = 0\nsmoke = ["/version"]\n'


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A dev, of a copy of this project, that releases blue/green."""
    project = tmp_path_factory.mktemp("project")
    for folder in ("terraform", "modules", "environments", "policy"):
        ignored = shutil.ignore_patterns(".terraform", "*.tfstate*")
        shutil.copytree(ROOT / folder, project / folder, ignore=ignored)
    _append(project / "environments" / "dev" / "environment.toml", _RELEASE)
    commands = CommandLine(project=project, home=tmp_path_factory.mktemp("strategies"))
    commands.ok("local", "up", "--port", "0", "--speed", "10")
    try:
        commands.ok("plan", "dev", "--local")
        commands.ok("apply", "dev", "--local")
        yield Dev(commands)
    finally:
        commands.ok("local", "down")


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_blue_green_serves_after_its_smoke_test_and_a_bad_version_never_does(dev: Dev) -> None:
    one, two = dev.version("1.0.0"), dev.version("2.0.0")
    bad = dev.version("3.0.0-bad", MCLASS_FAULT_ERROR_RATE="1")
    dev.released(one)  # the first is rolling

    dev.released(two)

    begun, ended = dev.records()[-1]
    assert begun["strategy"] == "BLUE_GREEN"
    assert ended["smoke"] == [{"path": "/version", "problem": ""}]
    assert ended["is_verified"]
    assert dev.answers()["version"] == "2.0.0"
    found = dev.client("ecs").describe_services(cluster=CLUSTER, services=[SERVICE])["services"][0]
    assert not found["deploymentConfiguration"].get("lifecycleHooks")

    done = dev.release(bad)

    assert done.status == 6, done.stderr
    assert done.document["outcome"] == "rolled back"
    assert "smoke test" in done.document["cause"]
    assert dev.records()[-1][1]["smoke"][0]["problem"]
    assert dev.answers()["version"] == "2.0.0"

    back = dev.rollback()

    assert back.status == 0, back.stderr
    assert dev.answers()["version"] == "1.0.0"
    assert not dev.commands.ok("plan", "dev", "--local", "--json").document["has_changes"]

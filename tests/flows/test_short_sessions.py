"""A command outlives the sessions of its role: its own calls, its lease, its record, and Terraform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.callers import ask
from tests.flows.released import Dev
from tests.snapshots import RELEASED, Snapshots, copied_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_LINEAR = """
[release]
strategy = "linear"
smoke = ["/version"]
"""
_SESSION_SECONDS = 5


@pytest.fixture
def dev(snapshots: Snapshots, tmp_path: Path) -> Iterator[Dev]:
    """Dev, released in 10 steps of 6 minutes. The clock of AWS is fast, that of the sessions is not."""
    project = copied_project(tmp_path / "project", _LINEAR)
    with snapshots.started(RELEASED, home=tmp_path / "home", project=project, speed=60) as commands:
        yield Dev(commands, snapshots.versions())


def test_a_linear_release_outlives_sessions_of_5_seconds(dev: Dev) -> None:
    """It takes an hour on AWS: plan, apply, 10 steps with their waits, bake time, verification, record."""
    two = dev.version("2.0.0")
    dev.commands.ok("local", "up", "--session-seconds", str(_SESSION_SECONDS))

    done = dev.release(two)

    assert done.status == 0, done.stderr
    assert done.document["outcome"] == "released", json.dumps(done.document)
    assert "does not answer" not in done.stderr
    assert "ledger cannot be written" not in done.stderr
    ask(dev.commands.local_aws(), "sessions", {"seconds": None})
    begun, end = dev.records()[-1]
    assert (end["outcome"], end["is_verified"]) == ("released", True)
    assert begun["who"].startswith("arn:aws:sts::111111111111:assumed-role/mclass-deploy/")
    assert dev.answers()["version"] == "2.0.0"

"""A command outlives the sessions of its role: its own calls, its lease, its record, and Terraform."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.callers import ask
from tests.flows.released import Dev
from tests.snapshots import RELEASED, Snapshots, copied_project

pytestmark = pytest.mark.timeout(300)

_LINEAR = """
[release]
strategy = "linear"
step_bake_minutes = {minutes}
bake_minutes = {minutes}
smoke = ["/version"]
"""


@contextmanager
def linear(snapshots: Snapshots, folder: Path, *, minutes: int, speed: float) -> Iterator[Dev]:
    """Start dev, released in 10 steps with waits of some minutes. The clock of AWS is fast, that of the sessions is not."""
    project = copied_project(folder / "project", _LINEAR.format(minutes=minutes))
    with snapshots.started(RELEASED, home=folder / "home", project=project, speed=speed) as commands:
        yield Dev(commands, snapshots.versions())


@pytest.mark.slow
def test_a_linear_release_outlives_sessions_of_5_seconds(snapshots: Snapshots, tmp_path: Path) -> None:
    """It takes an hour on AWS: plan, apply, 10 steps with their waits, bake time, verification, record."""
    with linear(snapshots, tmp_path, minutes=6, speed=60) as dev:
        releases_with_sessions_of(dev, seconds=5)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_release_of_70_minutes_outlives_sessions_of_a_minute(snapshots: Snapshots, tmp_path: Path) -> None:
    with linear(snapshots, tmp_path, minutes=7, speed=25) as dev:
        minutes = releases_with_sessions_of(dev, seconds=60) * 25 / 60

    assert minutes >= 70


def releases_with_sessions_of(dev: Dev, *, seconds: int) -> float:
    """Release while no session lives for longer; return how long that took here, in seconds."""
    two = dev.version("2.0.0")
    dev.commands.ok("local", "up", "--session-seconds", str(seconds))
    began = time.monotonic()

    done = dev.release(two)

    assert done.status == 0, done.stderr
    assert done.document["outcome"] == "released", json.dumps(done.document)
    assert "does not answer" not in done.stderr
    assert "ledger cannot be written" not in done.stderr
    took = time.monotonic() - began
    ask(dev.commands.local_aws(), "sessions", {"seconds": None})
    begun, end = dev.records()[-1]
    assert (end["outcome"], end["is_verified"]) == ("released", True)
    assert begun["who"].startswith("arn:aws:sts::111111111111:assumed-role/mclass-deploy/")
    assert dev.answers()["version"] == "2.0.0"
    return took

"""A command outlives the sessions of its role: its own calls, its lease, its record, and Terraform."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.callers import ask
from tests.flows.killed import until
from tests.flows.released import Dev
from tests.snapshots import RELEASED, Snapshots, copied_project
from tests.time_limits import seconds_left

pytestmark = pytest.mark.timeout(300)

_LINEAR = """
[release]
strategy = "linear"
step_bake_minutes = {minutes}
bake_minutes = {minutes}
smoke = ["/version"]
"""


_SHIFTING = ("PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME")


@pytest.fixture
def dev(snapshots: Snapshots, tmp_path: Path, minutes: int) -> Iterator[Dev]:
    """Dev, to be released in 10 steps with waits of some minutes."""
    project = copied_project(tmp_path / "project", _LINEAR.format(minutes=minutes))
    with snapshots.started(RELEASED, home=tmp_path / "home", project=project) as commands:
        yield Dev(commands, snapshots.versions())


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [6])
def test_a_linear_release_outlives_sessions_of_5_seconds(dev: Dev) -> None:
    """It takes more than an hour on AWS: plan, apply, 10 steps with their waits, bake time, verification, record."""
    releases_with_sessions_of(dev, seconds=5, speed=40)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("minutes", [7])
def test_a_release_of_70_minutes_outlives_sessions_of_a_minute(dev: Dev) -> None:
    assert releases_with_sessions_of(dev, seconds=60, speed=45) >= 70


def releases_with_sessions_of(dev: Dev, *, seconds: int, speed: float) -> float:
    """Release while no session lives for longer; return for how many of AWS's minutes traffic was shifted.

    The clock of AWS is fast while nothing but time passes. That of the sessions never is.
    """
    two, server = dev.version("2.0.0"), dev.commands.local_aws()
    assert not is_shifting(dev), "and the test's own session is not one of the short ones"
    dev.commands.ok("local", "up", "--session-seconds", str(seconds))
    with ThreadPoolExecutor(1) as pool:
        release = pool.submit(dev.release, two)
        until(
            lambda: release.done() or is_shifting(dev), "production traffic is shifted", within=seconds_left()
        )
        began = time.monotonic()
        ask(server, "clock", {"speed": speed})
        done = release.result()
    minutes = (time.monotonic() - began) * speed / 60

    assert done.status == 0, done.stderr
    assert done.document["outcome"] == "released", json.dumps(done.document)
    assert "does not answer" not in done.stderr
    assert "ledger cannot be written" not in done.stderr
    ask(server, "sessions", {"seconds": None})
    begun, end = dev.records()[-1]
    assert (end["outcome"], end["is_verified"]) == ("released", True)
    assert begun["who"].startswith("arn:aws:sts::111111111111:assumed-role/mclass-deploy/")
    return minutes


def is_shifting(dev: Dev) -> bool:
    ongoing = [each["serviceDeploymentArn"] for each in dev.deployments() if each["status"] == "IN_PROGRESS"]
    described = dev.ecs("DescribeServiceDeployments", serviceDeploymentArns=ongoing) if ongoing else {}
    stages = [each.get("lifecycleStage") for each in described.get("serviceDeployments", ())]
    return any(stage in _SHIFTING for stage in stages)

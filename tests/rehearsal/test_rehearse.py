"""Real rehearsals: dev and prod on a local AWS, two versions, traffic; faults, missing protections, promotions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.rehearsal import names
from tests.commands import CommandLine, run_interrupted
from tests.rehearsal.rehearsing import assert_everything_is_restored, rehearse_successfully
from tests.snapshots import APPLIED, Snapshots

# Traffic shifts are rehearsed in prod, so that dev stays a service that has never shifted traffic.
# One fault of the version itself, one of its surroundings, and one that removes tasks. Tests of the scheduler, of the tasks'
# preconditions and of the causes that a release names cover the others on every change.
ON_EVERY_CHANGE = ("crash-at-start", "security-group-closed", "spot-interruption")
SHIFTED = ("bad-smoke", "bad-under-traffic", "bad-alarm", "killed")

# A rehearsal may have to be repeated, and other tests run beside it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(290)]

# Each sends load and measures. Two at once on a small machine disturb each other and are repeated; at night there is time.
ONE_AT_A_TIME = pytest.mark.xdist_group("rehearse")


@pytest.fixture
def commands(snapshots: Snapshots, tmp_path: Path) -> Iterator[CommandLine]:
    """A local AWS of its own, with dev and prod applied."""
    with snapshots.started(APPLIED, home=tmp_path / "home") as own:
        yield own


def rehearsed(commands: CommandLine, *arguments: str) -> Any:
    """Run a rehearsal in dev that must pass; return the document. The low rate proves little; nightly rehearsals send more."""
    return rehearse_successfully(commands, "dev", "--rate", "50", "--seconds", "10", *arguments)


def shifted(commands: CommandLine, strategy: str, *arguments: str) -> Any:
    """Run a rehearsal in prod with shifted traffic that must pass; return the document."""
    load = ("--rate", "50", "--seconds", "15", "--speed", "20")
    return rehearse_successfully(commands, "prod", "--strategy", strategy, *load, *arguments)


@ONE_AT_A_TIME
def test_a_release_drops_no_request(commands: CommandLine, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    found = rehearsed(commands, "--report", str(page))

    assert found["verdict"] == "passed"
    assert found["requests"]["failed"] == 0
    assert found["requests"]["sent"] >= 500
    assert found["release"]["outcome"] == "released"
    assert found["latency"]["during"]["p99"] > 0
    assert {found["release"]["old_version"][-2:], found["release"]["new_version"][-2:]} == {"-a", "-b"}
    assert any("steady state" in event["message"] for event in found["events"])
    # Old tasks get SIGTERM when the release ends, and serve for their lame duck.
    staying = [task for task in found["tasks"] if task["stopping_at"] is None]
    assert {task["revision"] for task in staying} == {max(task["revision"] for task in found["tasks"])}
    assert json.dumps(found["requests"]["sent"]) in page.read_text(encoding="utf-8")
    assert_everything_is_restored(commands)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(name, marks=ONE_AT_A_TIME if name in ON_EVERY_CHANGE else pytest.mark.nightly)
        for name in names.FAULTS
        if name not in SHIFTED
    ],
)
def test_a_fault_keeps_its_promise(commands: CommandLine, fault: str) -> None:
    found = rehearsed(commands, "--fault", fault)

    assert found["verdict"] == "passed"
    assert found["requests"]["failed"] == found["requests"]["killed"]
    if fault not in {"task-killed", "spot-interruption", "slow-start-interrupted"}:
        assert found["requests"]["failed"] == 0
        assert found["release"]["exit_code"] == 6
        assert found["release"]["cause"]
    assert_everything_is_restored(commands)


@pytest.mark.nightly
def test_a_fault_that_deletes_the_image_can_be_rehearsed_repeatedly(
    commands: CommandLine,
) -> None:
    found = rehearsed(commands, "--fault", "image-missing", "--runs", "2")

    assert (found["verdict"], len(found["runs"])) == ("passed", 2)


@ONE_AT_A_TIME
@pytest.mark.parametrize("protection", names.PROTECTIONS)
def test_a_removed_protection_is_missed_and_named(commands: CommandLine, protection: str) -> None:
    found = rehearsed(commands, "--without", protection)

    assert found["requests"]["failed"] > 0
    assert found["diagnosis"][0]["cause"] == protection
    assert found["diagnosis"][0]["failed"] > 0
    assert_everything_is_restored(commands)


@ONE_AT_A_TIME
def test_a_promotion_drops_no_request_and_tells_what_it_took(commands: CommandLine) -> None:
    found = shifted(commands, "canary", "--from", "dev")

    assert found["requests"]["failed"] == 0
    assert (found["strategy"], found["promotion"]["from"]) == ("canary", "dev")
    took = found["promotion"]
    assert took["overhead_seconds"] == pytest.approx(took["seconds"] - took["ecs_seconds"], abs=0.01)
    shares = {stage["production"] for each in found["deployments"] for stage in each["stages"]}
    assert {5.0, 100.0} <= shares
    latest = commands.ok("history", "prod", "--local", "--json").document["attempts"][0]
    assert (latest["kind"], latest["promoted_from"]["environment"]) == ("promotion", "dev")
    assert latest["digest"] == found["release"]["digest"]
    assert_everything_is_restored(commands, "prod")


@pytest.mark.nightly
def test_a_version_that_fails_its_smoke_test_meets_no_user(commands: CommandLine) -> None:
    found = shifted(commands, "blue-green", "--fault", "bad-smoke")

    assert found["requests"]["failed"] == 0
    assert (found["exposure"]["requests"], found["exposure"]["balancer_requests"]) == (0, 0)
    assert "smoke test" in found["release"]["cause"]
    assert_everything_is_restored(commands, "prod")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("bad-under-traffic", marks=pytest.mark.nightly),
        pytest.param("bad-alarm", marks=ONE_AT_A_TIME),
    ],
)
def test_a_version_that_fails_under_traffic_meets_no_more_users_than_the_canary_has(
    commands: CommandLine, fault: str
) -> None:
    found = shifted(commands, "canary", "--fault", fault)

    exposure = found["exposure"]
    assert found["requests"]["failed"] == exposure["failed"] > 0
    assert exposure["limit"] == 0.05
    assert found["release"]["exit_code"] == 6
    assert_everything_is_restored(commands, "prod")


@pytest.mark.nightly
def test_a_promotion_that_is_killed_is_resumed_and_drops_no_request(commands: CommandLine) -> None:
    found = shifted(
        commands, "canary", "--fault", "killed", "--at", "post-test-traffic-shift", "--from", "dev"
    )

    assert found["requests"]["failed"] == 0
    killed = found["killed"]
    assert (killed["exit_code"], killed["outcome"]) == (0, "released")
    assert killed["serves_what_it_says"]
    assert killed["record_is_true"]
    assert killed["is_plan_empty"]


@ONE_AT_A_TIME
def test_a_rolling_release_has_no_traffic_to_shift(commands: CommandLine) -> None:
    done = commands.run("rehearse", "dev", "--fault", "bad-smoke")

    assert done.status == 2
    assert "--strategy blue-green, canary or linear" in done.stderr


@ONE_AT_A_TIME
def test_an_interrupt_restores_what_was_changed(commands: CommandLine) -> None:
    done = run_interrupted(commands, "rehearse", "dev", "--without", "grace-period", at="requests a second")

    assert done.status == 130
    assert "putting back autoscaling" in done.stderr
    assert_everything_is_restored(commands)

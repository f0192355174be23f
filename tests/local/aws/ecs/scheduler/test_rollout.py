"""Services with real tasks: rolling updates under traffic, rollbacks, replacement of tasks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mclass_tf import local
from tests.local import rollouts
from tests.local.conftest import account_of
from tests.local.rollouts import Rollouts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fast_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.LocalAws]:
    home = tmp_path_factory.mktemp("fast-aws")
    yield local.up(home=home, port=0, speed=rollouts.SPEED)
    local.down(home=home)


@pytest.fixture
def running(fast_server: local.LocalAws, request: pytest.FixtureRequest) -> Iterator[Rollouts]:
    """A service with two tasks of version 1."""
    made = rollouts.make(account_of(fast_server, f"{abs(hash(request.node.nodeid)) % 10**12:012d}"))
    made.wait_for_status("SUCCESSFUL")
    yield made
    made.client("ecs").delete_service(cluster="c", service="s", force=True)


def test_a_new_version_takes_over_and_no_request_fails(running: Rollouts) -> None:
    with running.traffic() as traffic:
        running.update(taskDefinition=running.register("2"))
        running.wait_for_status("SUCCESSFUL")
        assert [running.version() for _ in range(10)] == ["2"] * 10
    assert not traffic.errors
    assert set(traffic.answers) == {"1", "2"}
    assert [entry["rolloutState"] for entry in running.service["deployments"]] == ["COMPLETED"]
    assert len(running.tasks()) == 2
    zones = {task["availabilityZone"] for task in running.tasks()}
    assert len(zones) == 2


def test_a_version_that_crashes_is_rolled_back_and_no_request_fails(running: Rollouts) -> None:
    with running.traffic() as traffic:
        running.update(taskDefinition=running.register("2", MCLASS_FAULT_CRASH_AFTER_SECONDS="0"))
        running.wait_for_status("ROLLBACK_SUCCESSFUL")
    assert not traffic.errors
    assert set(traffic.answers) == {"1"}
    assert running.service["taskDefinition"].endswith("t:1")
    messages = [event["message"] for event in running.service["events"]]
    assert any("rolling back to deployment" in message for message in messages)


def test_a_version_that_is_never_ready_is_rolled_back(running: Rollouts) -> None:
    running.update(taskDefinition=running.register("2", MCLASS_FAULT_UNHEALTHY_AFTER_SECONDS="0"))
    running.wait_for_status("ROLLBACK_SUCCESSFUL")
    assert running.version() == "1"
    reasons = {task["stoppedReason"].partition("(")[0] for task in running.tasks("STOPPED")}
    assert "Task failed ELB health checks in " in reasons


def test_a_missing_image_is_rolled_back(running: Rollouts) -> None:
    missing = running.image.replace(":v1", ":v2")
    running.update(taskDefinition=running.register("2", image=missing))
    running.wait_for_status("ROLLBACK_SUCCESSFUL")
    stopped = [task["stoppedReason"] for task in running.tasks("STOPPED")]
    assert any(reason.startswith("CannotPullContainerError") for reason in stopped)
    assert running.version() == "1"


def test_a_stopped_task_is_replaced(running: Rollouts) -> None:
    victim = running.tasks()[0]["taskArn"]
    running.client("ecs").stop_task(cluster="c", task=victim, reason="by a test")
    running.wait(
        lambda: (
            running.service["runningCount"] == 2
            and victim not in {task["taskArn"] for task in running.tasks()}
        )
    )


def test_a_service_scales_to_nothing_and_back(running: Rollouts) -> None:
    running.update(desiredCount=0)
    running.wait(lambda: not running.tasks())
    running.update(desiredCount=1)
    running.wait(lambda: running.service["runningCount"] == 1)


def test_ecs_deploy_deploys_a_tag(running: Rollouts) -> None:
    """https://github.com/fabfuel/ecs-deploy"""
    tool = Path(sys.executable).with_name("ecs")
    done = subprocess.run(
        [str(tool), "deploy", "c", "s", "--tag", "v1", "--timeout", "90", "--no-deregister"],
        env=running.account.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Deployment successful" in done.stdout
    assert running.service["taskDefinition"].endswith("t:2")

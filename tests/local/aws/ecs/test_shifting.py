"""Traffic shifts with real tasks: each strategy under traffic, and rollbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mclass_tf import local
from tests.local import rollouts
from tests.local.conftest import account_of
from tests.local.ecs_cluster import call
from tests.local.rollouts import Rollouts

pytestmark = pytest.mark.slow

_STRATEGIES: dict[str, dict[str, Any]] = {
    "BLUE_GREEN": {},
    "CANARY": {"canaryConfiguration": {"canaryPercent": 10, "canaryBakeTimeInMinutes": 1}},
    "LINEAR": {"linearConfiguration": {"stepPercent": 34, "stepBakeTimeInMinutes": 1}},
}
_PAUSE = {"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]}


@pytest.fixture(scope="module")
def fast_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.LocalAws]:
    home = tmp_path_factory.mktemp("shifting-aws")
    yield local.up(home=home, port=0, speed=rollouts.SPEED)
    local.down(home=home)


@pytest.fixture
def make(fast_server: local.LocalAws, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Rollouts]]:
    """Create services with two tasks of version 1, which serve production and test traffic."""
    account = account_of(fast_server, f"{abs(hash(request.node.nodeid)) % 10**12:012d}")

    def made(strategy: str) -> Rollouts:
        running = rollouts.make(account, strategy={"strategy": "BLUE_GREEN"})
        running.wait_for_status("SUCCESSFUL")
        changes = {"strategy": strategy, "bakeTimeInMinutes": 1, **_STRATEGIES[strategy]}
        running.update(deploymentConfiguration={**changes, "lifecycleHooks": [_PAUSE]})
        return running

    yield made
    account.client("ecs").delete_service(cluster="c", service="s", force=True)


@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_traffic_moves_to_a_new_version_and_no_request_fails(
    make: Callable[[str], Rollouts], strategy: str
) -> None:
    running = make(strategy)
    with running.traffic() as traffic:
        running.update(taskDefinition=running.register("2"))
        running.wait(lambda: running.described["lifecycleStage"] == "POST_TEST_TRAFFIC_SHIFT")
        running.wait(lambda: running.version(test=True) == "2")
        assert set(traffic.answers) == {"1"}
        running.answer("POST_TEST_TRAFFIC_SHIFT", "CONTINUE")
        running.wait(lambda: running.described["lifecycleStage"] == "BAKE_TIME")
        assert len(running.tasks()) == 4
        running.wait_for_status("SUCCESSFUL")
        assert [running.version() for _ in range(10)] == ["2"] * 10
    assert not traffic.errors
    assert set(traffic.answers) == {"1", "2"}
    assert len(running.tasks()) == 2


def test_a_rejected_green_never_gets_production_traffic(make: Callable[[str], Rollouts]) -> None:
    running = make("BLUE_GREEN")
    with running.traffic() as traffic:
        running.update(taskDefinition=running.register("2"))
        running.answer("POST_TEST_TRAFFIC_SHIFT", "ROLLBACK")
        running.wait_for_status("ROLLBACK_SUCCESSFUL")
        running.wait(lambda: running.version(test=True) == "1")
    assert not traffic.errors
    assert set(traffic.answers) == {"1"}


def test_a_rollback_during_a_canary_drops_no_request(make: Callable[[str], Rollouts]) -> None:
    running = make("CANARY")
    with running.traffic() as traffic:
        running.update(taskDefinition=running.register("2"))
        running.answer("POST_TEST_TRAFFIC_SHIFT", "CONTINUE")
        running.wait(lambda: "2" in traffic.answers)
        arn = running.record["serviceDeploymentArn"]
        call(
            running.client("ecs"),
            "StopServiceDeployment",
            {"serviceDeploymentArn": arn, "stopType": "ROLLBACK"},
        )
        running.wait_for_status("ROLLBACK_SUCCESSFUL")
        assert [running.version() for _ in range(10)] == ["1"] * 10
    assert not traffic.errors
    assert traffic.answers["2"] < traffic.answers["1"]

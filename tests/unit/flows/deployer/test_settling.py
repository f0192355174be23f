"""Checks that count tasks and targets wait while ECS starts some, as long as a new task may take until it serves."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf import verify
from mclass_tf.cloud import Cloud
from mclass_tf.flows.deployer import settling
from mclass_tf.session import Session
from mclass_tf.verify import CheckStatus, VerifyReport, VerifyResult
from tests.unit.fake_service import NEW, Clock, FakeEcs, deployment, service

OUTPUTS = cast(
    "verify.Outputs",
    SimpleNamespace(
        target_group_arns={"blue": "b", "green": "g"},
        cluster_name="mclass-cluster",
        service_name="mclass-service",
    ),
)
AWS = Cloud(kind="aws", identity="aws", endpoint_url=None)


class Elb:
    def describe_target_groups(self, **_: Any) -> dict[str, Any]:
        slow = {"HealthCheckIntervalSeconds": 10, "HealthyThresholdCount": 5}
        return {"TargetGroups": [{"HealthCheckIntervalSeconds": 10, "HealthyThresholdCount": 2}, slow]}


def session() -> Session:
    aws = SimpleNamespace(elbv2=Elb())
    environment = SimpleNamespace(name="dev")
    return cast(
        "Session", SimpleNamespace(aws=aws, cloud=AWS, environment=environment, report=lambda _: None)
    )


def test_a_new_task_has_its_start_the_grace_period_and_the_slowest_health_check() -> None:
    now = replace(service(deployment(NEW, status="PRIMARY")), grace_period=45)

    assert settling.settling_seconds(session(), OUTPUTS, now) == 60 + 45 + 50


def _report(*failed: str) -> VerifyReport:
    groups = {"tasks run": "reachability", "encrypted": "encryption"}
    return VerifyReport(
        results=tuple(
            VerifyResult(
                name=name,
                group=group,
                status=CheckStatus.FAILED if name in failed else CheckStatus.PASSED,
                detail="",
            )
            for name, group in groups.items()
        )
    )


class World:
    """An environment whose checks of counts hold after some looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ecs: FakeEcs, *failed: str, looks: int) -> None:
        self.clock, self.looks, self.asked = Clock(), looks, list[Any]()
        self.failed = failed
        monkeypatch.setattr(settling, "applied_state", lambda _: SimpleNamespace(outputs={}))
        monkeypatch.setattr(settling, "fetcher", lambda _: None)
        monkeypatch.setattr(settling, "Ecs", lambda *_, **__: ecs)
        monkeypatch.setattr(verify.Outputs, "parse", lambda _: OUTPUTS)
        monkeypatch.setattr(verify, "run", self.run)

    def run(self, *_: object, only: Any = None, **__: object) -> VerifyReport:
        self.asked.append(only)
        if only is None or len(self.asked) <= self.looks:
            return _report(*self.failed)
        return _report()

    def verified(self) -> VerifyReport:
        return settling.verify_environment(session(), clock=self.clock, wait=self.clock.wait)


def _scaling_out() -> FakeEcs:
    return FakeEcs(replace(service(deployment(NEW, status="PRIMARY"), desired=4), pending=2))


def test_counts_are_taken_again_while_tasks_are_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, _scaling_out(), "tasks run", looks=10)

    assert world.verified().ok
    assert world.asked == [None, *[{"reachability"}] * 10]


def test_they_are_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, _scaling_out(), "tasks run", looks=1000)

    assert not world.verified().ok
    assert world.clock.now - 1000.0 == pytest.approx(60 + 30 + 50, abs=3.0)


@pytest.mark.parametrize("failed", [1, 0])
def test_nothing_is_waited_for_if_nothing_is_on_its_way(monkeypatch: pytest.MonkeyPatch, failed: int) -> None:
    """Tasks that fail are not on their way, either."""
    desired = 4 if failed else 2
    now = service(deployment(NEW, status="PRIMARY", desired=desired, failed=failed), desired=desired)
    world = World(monkeypatch, FakeEcs(now), "tasks run", looks=1000)

    assert not world.verified().ok
    assert len(world.asked) == 2


def test_any_other_difference_is_a_failure_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, _scaling_out(), "tasks run", "encrypted", looks=0)

    assert not world.verified().ok
    assert len(world.asked) == 1

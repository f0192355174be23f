"""What contradicts a shift of production traffic: both versions in one target group, or traffic to an empty one."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from mclass_tf.flows.deployer.consistency import find_contradiction
from mclass_tf.rollout import Patience
from mclass_tf.service import Ecs, ServiceDeployment
from mclass_tf.strategy import BLUE_GREEN, Strategy
from tests.unit.fake_service import NEW, OLD, Clock, FakeEcs, service_deployment
from tests.unit.test_strategy import BLUE, GREEN, WIRED, Rules, outputs, session

HEALTHY, UNHEALTHY = {"10.0.0.1": "healthy"}, {"10.0.0.1": "unhealthy"}
PAUSED = replace(service_deployment(), source_revision_arns=("revision/old",), strategy="CANARY")


def ecs(*, old: tuple[str, ...] = (BLUE,), new: tuple[str, ...] = (GREEN,)) -> FakeEcs:
    return FakeEcs(
        WIRED,
        own=PAUSED,
        revisions={"revision/own": NEW, "revision/old": OLD},
        groups={"revision/own": new, "revision/old": old},
        states_of={BLUE: HEALTHY, GREEN: HEALTHY},
    )


def contradiction(
    fake: FakeEcs, rules: Rules | None = None, *, deployment: ServiceDeployment = PAUSED
) -> tuple[str, float]:
    """Return what contradicts, and the seconds that this took."""
    clock = Clock()
    found = find_contradiction(
        session(Strategy(name=BLUE_GREEN), rules),
        outputs(),
        cast("Ecs", fake),
        deployment,
        patience=Patience(report=lambda _: None, clock=clock, wait=clock.wait),
    )
    return found, clock.now - 1000.0


@pytest.mark.parametrize(
    "rules", [Rules(), Rules(blue=90, green=10), Rules(blue=0, green=100)], ids=["before", "canary", "after"]
)
def test_a_rollout_with_each_version_in_its_group_goes_on_at_every_share(rules: Rules) -> None:
    assert contradiction(ecs(), rules) == ("", 0.0)


def test_both_versions_in_one_target_group_contradict() -> None:
    found, _ = contradiction(ecs(old=(GREEN,)))

    assert found == "ECS has the old and the new version in one target group, group/green"


@pytest.mark.parametrize(
    ("old", "new", "sources"),
    [((), (GREEN,), ("revision/old",)), ((GREEN,), (), ("revision/old",)), ((GREEN,), (GREEN,), ())],
    ids=["old group unknown", "new group unknown", "source unknown"],
)
def test_what_ecs_does_not_say_contradicts_nothing(
    old: tuple[str, ...], new: tuple[str, ...], sources: tuple[str, ...]
) -> None:
    unknown = replace(PAUSED, source_revision_arns=sources)

    assert contradiction(ecs(old=old, new=new), deployment=unknown)[0] == ""


@pytest.mark.parametrize("states", [{}, UNHEALTHY, {"10.0.0.1": "draining"}])
def test_production_traffic_to_a_group_without_healthy_targets_contradicts(states: dict[str, str]) -> None:
    fake = ecs()
    fake.states_of[GREEN] = states

    found, seconds = contradiction(fake, Rules(blue=50, green=50))

    assert found == "the rule of production traffic sends requests to group/green, where no target is healthy"
    assert seconds >= 15


def test_a_target_that_becomes_healthy_again_is_waited_for() -> None:
    fake = ecs()
    fake.states_of[BLUE] = {}
    reads = iter(range(100))

    def recover() -> None:
        if next(reads) == 4:
            fake.states_of[BLUE] = HEALTHY

    fake.on_read = recover
    found, seconds = contradiction(fake)

    assert found == ""
    assert 0 < seconds < 15


def test_a_group_without_production_traffic_may_be_empty() -> None:
    fake = ecs()
    fake.states_of[GREEN] = {}

    assert contradiction(fake, Rules(blue=100, green=0))[0] == ""


def test_a_rolling_deployment_has_one_target_group() -> None:
    assert contradiction(ecs(old=(GREEN,)), deployment=replace(PAUSED, strategy="ROLLING"))[0] == ""

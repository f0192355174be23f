"""What a rehearsal restores at its end."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from mclass_tf.rehearsal.fixture import ServiceFixture

DESCRIBED = {
    "availabilityZoneRebalancing": "ENABLED",
    "deploymentConfiguration": {
        "strategy": "ROLLING",
        "bakeTimeInMinutes": 5,  # of an earlier strategy; ECS may refuse it for this one
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "lifecycleHooks": [],
    },
}


def test_the_deployment_configuration_gets_back_what_scenarios_change_alone() -> None:
    asked: list[Mapping[str, Any]] = []
    service = SimpleNamespace(
        aws=SimpleNamespace(call_ecs=lambda _, request: asked.append(request)),
        names=SimpleNamespace(cluster="c", service="s"),
        describe=lambda: DESCRIBED,
    )
    with ServiceFixture(cast("Any", service), report=lambda _: None) as fixture:
        fixture.keep_deployment_configuration()
        assert asked == []

    assert asked == [
        {
            "cluster": "c",
            "service": "s",
            "deploymentConfiguration": {
                "maximumPercent": 200,
                "minimumHealthyPercent": 100,
                "alarms": {"alarmNames": [], "enable": False, "rollback": False},
            },
            "availabilityZoneRebalancing": "ENABLED",
        }
    ]

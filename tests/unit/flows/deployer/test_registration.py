"""A changed port or name of the container takes effect in the call that brings its task definition into service."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mclass_tf.flows.deployer.registration import ContainerPort, registered
from mclass_tf.service import serving_container
from tests.unit.fake_service import OLD, deployment, service

APPLIED = ContainerPort(container="web", port=8080)
ADVANCED = {"alternateTargetGroupArn": "green", "productionListenerRule": "rule"}


def entry(container: str, port: int) -> dict[str, Any]:
    return {
        "targetGroupArn": "blue",
        "advancedConfiguration": ADVANCED,
        "containerName": container,
        "containerPort": port,
    }


RUNNING = replace(service(deployment(OLD, status="PRIMARY")), load_balancers=(entry("web", 3000),))


def definition(*ports: int, name: str = "web") -> dict[str, Any]:
    own = {"name": name, "portMappings": [{"containerPort": port} for port in ports]}
    return {"containerDefinitions": [{"name": "sidecar"}, own]}


@pytest.mark.parametrize(
    ("task_definition", "expected"),
    [
        (definition(8080), entry("web", 8080)),
        (definition(3000, 8080), entry("web", 8080)),
        (definition(8080, name="server"), entry("server", 8080)),
        # A rollback to a version that listens on a third port.
        (definition(4000), entry("web", 4000)),
    ],
    ids=["another port", "both ports", "another name", "an earlier port"],
)
def test_the_service_gets_the_container_and_port_of_its_task_definition(
    task_definition: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = registered({}, RUNNING, task_definition, applied=APPLIED)

    assert found == {"loadBalancers": [expected]}


@pytest.mark.parametrize("task_definition", [definition(3000), definition(), {"containerDefinitions": []}])
def test_nothing_is_sent_if_nothing_changes(task_definition: dict[str, Any]) -> None:
    assert registered({"a": 1}, RUNNING, task_definition, applied=APPLIED) == {"a": 1}
    assert registered({}, replace(RUNNING, load_balancers=()), task_definition, applied=APPLIED) == {}


def test_a_wiring_that_is_sent_has_the_port_of_the_task_definition() -> None:
    settings = {"loadBalancers": [{**entry("web", 8080), "targetGroupArn": "green"}]}

    found = registered(settings, RUNNING, definition(3000), applied=APPLIED)

    assert found["loadBalancers"] == [{**entry("web", 3000), "targetGroupArn": "green"}]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("green", ("green", "blue")),
        ("blue", ("blue", "green")),
        ("", ("blue", "green")),
        ("x", ("blue", "green")),
    ],
    ids=["the alternate one", "the first", "unknown", "neither"],
)
def test_a_changed_port_is_sent_with_the_target_group_in_use(group: str, expected: tuple[str, str]) -> None:
    found = registered({}, RUNNING, definition(4000), applied=APPLIED, find_group=lambda: group)

    (sent,) = found["loadBalancers"]
    assert (sent["targetGroupArn"], sent["advancedConfiguration"]["alternateTargetGroupArn"]) == expected
    assert sent["advancedConfiguration"]["productionListenerRule"] == "rule"


def test_a_wiring_that_the_service_has_is_not_sent_though_the_applied_port_waits() -> None:
    swapped = {**entry("web", 8080), "targetGroupArn": "green"}
    settings = {
        "a": 1,
        "loadBalancers": [
            {**swapped, "advancedConfiguration": {**ADVANCED, "alternateTargetGroupArn": "blue"}}
        ],
    }

    assert registered(settings, RUNNING, definition(3000), applied=APPLIED) == {"a": 1}


def test_a_container_that_ecs_leaves_out_of_its_answer_is_not_a_change() -> None:
    silent = {name: value for name, value in entry("web", 3000).items() if not name.startswith("container")}
    running = replace(RUNNING, load_balancers=(silent,))

    assert registered({}, running, definition(8080), applied=APPLIED) == {}


def test_the_container_of_an_earlier_version_may_have_another_name() -> None:
    assert (
        serving_container(definition(3000, name="old"), "web")
        == definition(3000, name="old")["containerDefinitions"][1]
    )
    assert serving_container({"containerDefinitions": []}, "web") is None

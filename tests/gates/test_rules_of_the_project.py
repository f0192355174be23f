"""policy/checks: each test removes one protection from a real plan, and the gate finds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

import pytest

pytestmark = pytest.mark.xdist_group("checkov")  # which takes two seconds to import

SERVICE = "module.service.aws_ecs_service.this"
TASK = "module.service.aws_ecs_task_definition.this"
BLUE = 'module.service.aws_lb_target_group.this["blue"]'

Values = Callable[[dict[str, Any], str], dict[str, Any]]


class Judge(Protocol):
    def failed(
        self, name: str = ..., *, edit: Callable[[dict[str, Any]], object] | None = ...
    ) -> set[tuple[str, str]]: ...


def test_a_sound_plan_breaks_no_rule_but_the_waived_one(reader: Judge) -> None:
    assert reader.failed() == set()


def attribute(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(values: dict[str, Any]) -> None:
        values[name] = value

    return edit


def container(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def edit(values: dict[str, Any]) -> None:
        (only,) = json.loads(values["container_definitions"])
        merged = {key: value for key, value in {**only, **changes}.items() if value is not None}
        values["container_definitions"] = json.dumps([merged])

    return edit


BY_TAG = "111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/mclass-server:latest"


@pytest.mark.parametrize(
    ("check", "address", "change"),
    [
        pytest.param("CKV_MCLASS_1", TASK, container(image=BY_TAG), id="image by tag"),
        pytest.param("CKV_MCLASS_1", TASK, container(image="nginx@sha256:123"), id="image by half a digest"),
        pytest.param("CKV_MCLASS_2", TASK, container(stopTimeout=None), id="no stop timeout"),
        pytest.param(
            "CKV_MCLASS_2", TASK, container(stopTimeout=121), id="stop timeout that Fargate refuses"
        ),
        pytest.param("CKV_MCLASS_2", TASK, container(stopTimeout=0), id="no time to stop"),
        pytest.param("CKV_MCLASS_3", TASK, container(user=None), id="no user"),
        pytest.param("CKV_MCLASS_3", TASK, container(user="0:65532"), id="root by number"),
        pytest.param("CKV_MCLASS_3", TASK, container(user="root"), id="root by name"),
        pytest.param("CKV_MCLASS_4", TASK, attribute("skip_destroy", False), id="old revisions deregistered"),
        pytest.param("CKV_MCLASS_5", SERVICE, attribute("deployment_circuit_breaker", []), id="no breaker"),
        pytest.param(
            "CKV_MCLASS_5",
            SERVICE,
            attribute("deployment_circuit_breaker", [{"enable": True, "rollback": False}]),
            id="breaker without rollback",
        ),
        pytest.param(
            "CKV_MCLASS_6",
            SERVICE,
            attribute("deployment_minimum_healthy_percent", 0),
            id="all may stop at once",
        ),
        pytest.param(
            "CKV_MCLASS_6", SERVICE, attribute("deployment_maximum_percent", 100), id="no room for a new task"
        ),
        pytest.param(
            "CKV_MCLASS_7", SERVICE, attribute("health_check_grace_period_seconds", 0), id="no grace period"
        ),
        pytest.param(
            "CKV_MCLASS_7",
            SERVICE,
            attribute("health_check_grace_period_seconds", None),
            id="grace period left out",
        ),
        pytest.param(
            "CKV_MCLASS_8", BLUE, attribute("deregistration_delay", "0"), id="requests in flight cut"
        ),
        pytest.param("CKV_MCLASS_8", BLUE, attribute("deregistration_delay", "300"), id="drain nobody chose"),
        pytest.param("CKV_AWS_336", TASK, container(readonlyRootFilesystem=False), id="writable root"),
        pytest.param(
            "CKV_AWS_51",
            "module.service.aws_ecr_repository.this",
            attribute("image_tag_mutability", "MUTABLE"),
            id="tags that move",
        ),
        pytest.param(
            "CKV_AWS_131",
            "module.service.aws_lb.this",
            attribute("drop_invalid_header_fields", False),
            id="invalid headers passed on",
        ),
    ],
)
def test_a_removed_protection_is_found(
    reader: Judge, values_of: Values, check: str, address: str, change: Callable[[dict[str, Any]], None]
) -> None:
    assert reader.failed(edit=lambda document: change(values_of(document, address))) == {(check, address)}


@pytest.mark.parametrize(
    ("address", "change"),
    [
        pytest.param(TASK, container(stopTimeout=120), id="the longest stop timeout"),
        pytest.param(TASK, container(user="app"), id="a user by name"),
        pytest.param(SERVICE, attribute("deployment_minimum_healthy_percent", 50), id="the guide's half"),
        pytest.param(BLUE, attribute("deregistration_delay", "120"), id="the longest drain"),
    ],
)
def test_the_edge_of_a_rule_is_allowed(
    reader: Judge, values_of: Values, address: str, change: Callable[[dict[str, Any]], None]
) -> None:
    assert reader.failed(edit=lambda document: change(values_of(document, address))) == set()

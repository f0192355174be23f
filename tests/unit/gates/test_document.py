"""The part of a plan that a scanner gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # Checkov brings it
from hypothesis import given, settings
from hypothesis import strategies as st

from mclass_tf.gates.document import UNKNOWN, addresses, for_scanner, to_json, unreadable_containers
from mclass_tf.gates.secrets import MASK

PLANS = Path(__file__).parents[1] / "data/gates/plans"


def plan_of(
    values: dict[str, Any],
    *,
    unknown: dict[str, Any] | None = None,
    sensitive: dict[str, Any] | None = None,
    expressions: dict[str, Any] | None = None,
) -> dict[str, Any]:
    identity = {"address": "aws_x_y.z", "mode": "managed", "type": "aws_x_y", "name": "z"}
    return {
        "planned_values": {
            "root_module": {
                "resources": [{**identity, "values": values, "sensitive_values": sensitive or {}}]
            }
        },
        "resource_changes": [
            {
                **identity,
                "change": {
                    "actions": ["create"],
                    "before": None,
                    "after": values,
                    "after_unknown": unknown or {},
                },
            }
        ],
        "configuration": {"root_module": {"resources": [{**identity, "expressions": expressions or {}}]}},
    }


def scanned(plan: dict[str, Any]) -> dict[str, Any]:
    (resource,) = for_scanner(plan)["planned_values"]["root_module"]["resources"]
    values: dict[str, Any] = resource["values"]
    return values


@pytest.mark.parametrize("name", ["sound", "weak"])
def test_no_secret_of_a_real_plan_gets_through(name: str) -> None:
    plan = json.loads((PLANS / f"{name}.json").read_text())
    secret = "correct-horse-battery-staple"
    assert secret in json.dumps(plan)
    assert secret not in json.dumps(for_scanner(plan))


def test_the_prior_state_and_the_variables_stay_behind() -> None:
    plan = {
        **plan_of({}),
        "prior_state": {"values": {"secret": 1}},
        "variables": {"password": {"value": "x"}},
    }
    assert {"prior_state", "variables"}.isdisjoint(for_scanner(plan))


def test_a_sensitive_text_is_masked_at_any_depth() -> None:
    plan = plan_of(
        {"a": [{"b": "secret", "c": "open"}], "d": {"e": ["secret"]}, "n": 7},
        sensitive={"a": [{"b": True}], "d": True, "n": True},
    )
    assert scanned(plan) == {"a": [{"b": MASK, "c": "open"}], "d": {"e": [MASK]}, "n": MASK}


def test_containers_with_a_sensitive_environment_can_still_be_judged() -> None:
    containers = [{"image": "x@sha256:1", "environment": [{"name": "KEY", "value": "secret"}]}]
    plan = plan_of(
        {"container_definitions": json.dumps(containers)}, sensitive={"container_definitions": True}
    )
    (container,) = json.loads(scanned(plan)["container_definitions"])
    assert container == {"image": "x@sha256:1", "environment": [{"name": "KEY", "value": MASK}]}


SECRET = "correct-horse-battery"
CONTAINER = {
    "name": "app",
    "image": "x@sha256:1",
    "user": "65532:65532",
    "essential": True,
    "stopTimeout": 90,
    "command": ["--password", SECRET],
    "entryPoint": [SECRET],
    "environment": [{"name": "KEY", "value": SECRET}],
    "secrets": [{"name": "DB", "valueFrom": "arn:aws:ssm:x"}],
    "dockerLabels": {"token": SECRET},
    "healthCheck": {"command": ["CMD", SECRET], "interval": 5},
    "logConfiguration": {"logDriver": "splunk", "options": {"splunk-token": SECRET}},
    "firelensConfiguration": {"options": {"a": SECRET}},
    "repositoryCredentials": {"credentialsParameter": SECRET},
    "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
    "pin": 123456,
}


def test_the_parts_of_sensitive_containers_that_rules_judge_stay() -> None:
    plan = plan_of(
        {"container_definitions": json.dumps([CONTAINER])}, sensitive={"container_definitions": True}
    )

    (container,) = json.loads(scanned(plan)["container_definitions"])

    kept = ("name", "image", "user", "essential", "stopTimeout", "secrets", "linuxParameters")
    assert {key: CONTAINER[key] for key in kept} == {key: container[key] for key in kept}
    assert container["environment"] == [{"name": "KEY", "value": MASK}]
    assert container["healthCheck"] == {"command": [MASK, MASK], "interval": 5}
    assert container["pin"] == MASK
    assert set(CONTAINER) == set(container)
    assert SECRET not in json.dumps(for_scanner(plan))


def test_the_parts_of_a_sensitive_policy_that_rules_judge_stay() -> None:
    statement = {
        "Effect": "Allow",
        "Action": ["s3:*"],
        "Principal": {"AWS": "*"},
        "Resource": "*",
        "Condition": {"StringEquals": {"sts:ExternalId": SECRET}},
    }
    plan = plan_of(
        {"policy": json.dumps({"Version": "2012-10-17", "Id": SECRET, "Statement": [statement]})},
        sensitive={"policy": True},
    )

    assert json.loads(scanned(plan)["policy"]) == {
        "Version": "2012-10-17",
        "Id": MASK,
        "Statement": [{**statement, "Condition": {"StringEquals": {"sts:ExternalId": MASK}}}],
    }


@pytest.mark.parametrize(
    "document",
    [
        {"name": SECRET, "user": SECRET, "image": SECRET, "port": 54321},
        {"username": "admin-of-all", "password": SECRET},
        [SECRET],
        [[{"name": SECRET}]],
        [{"name": SECRET}],
        {"a": {"b": [{"c": SECRET}]}},
    ],
)
def test_only_the_keys_of_other_sensitive_documents_stay(document: Any) -> None:
    plan = plan_of({"secret_string": json.dumps(document)}, sensitive={"secret_string": True})

    text = json.dumps(for_scanner(plan))

    for secret in (SECRET, "54321", "admin-of-all"):
        assert secret not in text


def test_a_secret_that_the_plan_names_elsewhere_is_masked_in_what_would_stay() -> None:
    container = {"name": SECRET, "image": f"registry/{SECRET}@sha256:1", SECRET: 1, "user": "pin"}
    plan = plan_of(
        {"container_definitions": json.dumps([container])}, sensitive={"container_definitions": True}
    )
    plan["variables"] = {"password": {"value": SECRET}, "pin": {"value": "pin"}, "open": {"value": "app"}}
    declared = {"password": {"sensitive": True}, "pin": {"sensitive": True}, "open": {}}
    plan["configuration"]["root_module"]["variables"] = declared

    text = json.dumps(for_scanner(plan))

    assert SECRET not in text
    assert json.loads(scanned(plan)["container_definitions"])[0]["user"] == MASK


def test_what_only_the_change_marks_as_sensitive_is_masked_as_well() -> None:
    plan = plan_of({"a": {"b": SECRET}})
    plan["resource_changes"][0]["change"]["after_sensitive"] = {"a": {"b": True}}

    assert scanned(plan) == {"a": {"b": MASK}}


def test_a_secret_is_masked_where_it_was_made_without_a_mark() -> None:
    """The value of the header of test traffic: only its users know that it is a secret, not the terraform_data that makes it."""
    value = "f73d7d27-27ba-b889-88e6-39c6f7316086"
    plan = plan_of({"input": value, "list": [{"output": value}], "open": "an open text of some length"})
    plan["output_changes"] = {
        "header": {"actions": ["no-op"], "after": {"value": value}, "after_sensitive": {"value": True}}
    }

    assert scanned(plan) == {
        "input": MASK,
        "list": [{"output": MASK}],
        "open": "an open text of some length",
    }


@pytest.mark.parametrize("marks", [{"a": {"b": True}}, {"a": [True]}, {"a": True}, [True]])
def test_marks_of_another_shape_than_the_value_mask_all_of_it(marks: Any) -> None:
    values: dict[str, Any] = {"a": SECRET}

    assert scanned(plan_of(values, sensitive=marks)) == {"a": MASK}


def test_no_constant_and_no_default_of_the_configuration_gets_through() -> None:
    """The planned value of a sensitive argument is masked, and its constant in the configuration is the same value."""
    constant = {"constant_value": SECRET}
    inner = {
        "variables": {"password": {"default": SECRET, "sensitive": True}},
        "outputs": {"out": {"expression": constant, "sensitive": True}},
        "resources": [
            {
                "address": "aws_x_y.z",
                "type": "aws_x_y",
                "name": "z",
                "mode": "managed",
                "provider_config_key": "aws",
                "expressions": {
                    "password": constant,
                    "block": [{"token": constant, "key": {"references": ["var.key"]}}],
                    "variables": constant,
                    "on": {"constant_value": True},
                },
                "for_each_expression": constant,
                "provisioners": [{"type": "local-exec", "expressions": {"command": constant}}],
            }
        ],
    }
    plan = plan_of({})
    plan["configuration"] = {
        "provider_config": {
            "aws": {
                "name": "aws",
                "expressions": {
                    "region": {"constant_value": "ap-northeast-2"},
                    "secret_key": constant,
                    "assume_role": [{"external_id": constant}],
                },
            }
        },
        "root_module": {
            **inner,
            "module_calls": {
                "db": {"source": "./db", "expressions": {"password": constant}, "module": inner}
            },
        },
    }

    found = for_scanner(plan)

    assert SECRET not in json.dumps(found)
    configuration = found["configuration"]
    provider = configuration["provider_config"]["aws"]
    assert provider["expressions"]["region"] == {"constant_value": "ap-northeast-2"}
    (resource,) = configuration["root_module"]["module_calls"]["db"]["module"]["resources"]
    assert resource["expressions"] == {
        "password": {"constant_value": MASK},
        "block": [{"token": {"constant_value": MASK}, "key": {"references": ["var.key"]}}],
        "variables": {"constant_value": MASK},
        "on": {"constant_value": True},
    }
    assert resource["provisioners"][0]["type"] == "local-exec"


JSON = st.recursive(
    st.just(SECRET) | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "image", "value", "Statement", "x"]), inner, max_size=3)
        | inner.map(json.dumps)
    ),
    max_leaves=12,
)


@settings(derandomize=True, deadline=None)
@given(value=JSON, as_text=st.booleans())
def test_a_secret_is_masked_wherever_it_stands(value: Any, *, as_text: bool) -> None:
    plan = plan_of({"a": json.dumps(value) if as_text else value}, sensitive={"a": True})
    plan["variables"] = {"password": {"value": SECRET}}
    plan["configuration"]["root_module"]["variables"] = {"password": {"sensitive": True}}

    assert SECRET not in json.dumps(for_scanner(plan))


def test_a_value_set_from_another_module_and_not_known_yet_counts_as_set() -> None:
    plan = plan_of(
        {}, unknown={"kms_key_id": True}, expressions={"kms_key_id": {"references": ["var.kms_key_arn"]}}
    )
    assert scanned(plan) == {"kms_key_id": f"{UNKNOWN}kms_key_id)"}


def test_two_values_that_are_not_known_yet_are_not_taken_for_equal() -> None:
    expressions = {name: {"references": [f"var.{name}"]} for name in ("execution_role_arn", "task_role_arn")}
    values = scanned(plan_of({}, unknown=dict.fromkeys(expressions, True), expressions=expressions))
    assert values["execution_role_arn"] != values["task_role_arn"]


def test_a_value_that_the_configuration_does_not_set_stays_absent() -> None:
    assert scanned(plan_of({}, unknown={"kms_key_id": True})) == {}


def test_a_reference_to_a_resource_is_left_to_the_scanner_to_follow() -> None:
    plan = plan_of(
        {},
        unknown={"vpc_id": True},
        expressions={"vpc_id": {"references": ["aws_vpc.this.id", "aws_vpc.this"]}},
    )
    assert scanned(plan) == {}


def test_a_known_value_is_never_replaced() -> None:
    plan = plan_of({"name": "x"}, unknown={"name": True}, expressions={"name": {"references": ["var.name"]}})
    assert scanned(plan) == {"name": "x"}


def test_nested_blocks_are_filled_as_the_configuration_sets_them() -> None:
    plan = plan_of(
        {"encryption": [{"type": "KMS"}]},
        unknown={"encryption": [{"key": True, "chosen_by_aws": True}]},
        expressions={"encryption": [{"key": {"references": ["var.key"]}, "type": {"constant_value": "KMS"}}]},
    )
    assert scanned(plan) == {"encryption": [{"type": "KMS", "key": f"{UNKNOWN}key)"}]}


def test_the_content_of_a_dynamic_block_counts_as_set() -> None:
    plan = plan_of({"configuration": [{}]}, unknown={"configuration": [{"kms_key_id": True}]})
    assert scanned(plan) == {"configuration": [{"kms_key_id": f"{UNKNOWN}kms_key_id)"}]}


def test_the_configuration_of_a_module_with_an_index_is_found() -> None:
    plan = json.loads((PLANS / "sound.json").read_text())
    flat = json.dumps(plan).replace("module.service.", 'module.service[\\"a.b\\"].')
    flat = flat.replace('"address": "module.service"', '"address": "module.service[\\"a.b\\"]"')
    texts = json.dumps(for_scanner(json.loads(flat)))
    assert UNKNOWN in json.dumps(for_scanner(plan))
    assert texts.count(UNKNOWN) == json.dumps(for_scanner(plan)).count(UNKNOWN)


def test_addresses_are_those_that_are_made_or_read() -> None:
    plan = json.loads((PLANS / "sound.json").read_text())
    found = set(addresses(plan))
    assert {
        "aws_kms_key.this[0]",
        "module.network.aws_flow_log.this[0]",
        "module.service.data.aws_iam_policy_document.assume",
    } <= found


def test_containers_are_unreadable_only_while_they_are_not_known() -> None:
    plan = json.loads((PLANS / "sound.json").read_text())
    assert list(unreadable_containers(plan)) == []
    for entry in plan["resource_changes"]:
        if entry["type"] == "aws_ecs_task_definition":
            entry["change"]["after_unknown"]["container_definitions"] = True
    assert list(unreadable_containers(plan)) == ["module.service.aws_ecs_task_definition.this"]


@pytest.mark.parametrize("configured", [False, True])
def test_rules_of_their_own_that_a_group_reports_back_are_not_taken_for_its_own(*, configured: bool) -> None:
    plan = plan_of(
        {"ingress": [{"from_port": 80}], "name": "alb"}, expressions={"ingress": {}} if configured else {}
    )
    for part in ("planned_values", "configuration"):
        (resource,) = plan[part]["root_module"]["resources"]
        resource |= {"type": "aws_security_group", "address": "aws_security_group.z"}

    assert ("ingress" in scanned(plan)) is configured


@pytest.mark.parametrize("first", range(0, 0x110000, 0x8000), ids=hex)
def test_a_reader_of_yaml_reads_every_character_of_the_json_as_it_is(first: int) -> None:
    every = "".join(map(chr, (*range(first, first + 0x8000), *range(0xFFF0, 0x10010))))
    text = "".join(character for character in every if not 0xD800 <= ord(character) <= 0xDFFF)
    document = {"values": [text], text[-100:]: {"안녕 😀": None}}
    assert yaml.safe_load(to_json(document)) == document == json.loads(to_json(document))

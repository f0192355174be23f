"""Plans of any shape and plan files of any bytes: they are read to the end, or refused in a sentence."""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from mclass_tf.describe import describe, summary
from mclass_tf.errors import PlanRefusedError
from mclass_tf.gates.document import addresses, for_scanner, to_json, unreadable_containers
from mclass_tf.gates.places import places
from mclass_tf.plan import Plan, state_of

SECRET = "hunter2"
ADDRESS = 'module.a["x"].aws_ecs_task_definition.this[0]'
PLAN = {
    "format_version": "1.2",
    "terraform_version": "1.11.4",
    "applyable": True,
    "planned_values": {
        "root_module": {
            "child_modules": [
                {
                    "address": 'module.a["x"]',
                    "resources": [
                        {
                            "address": ADDRESS,
                            "type": "aws_ecs_task_definition",
                            "name": "this",
                            "values": {
                                "secret": SECRET,
                                "container_definitions": json.dumps([{"name": "a", "value": SECRET}]),
                                "volume": [{"name": None}, {"name": "b"}],
                            },
                            "sensitive_values": {
                                "secret": True,
                                "container_definitions": True,
                                "volume": [{}],
                            },
                        }
                    ],
                }
            ]
        }
    },
    "resource_changes": [
        {
            "address": ADDRESS,
            "type": "aws_ecs_task_definition",
            "previous_address": "aws_ecs_task_definition.old",
            "deposed": "0a1b",
            "action_reason": "replace_because_tainted",
            "change": {
                "actions": ["create", "delete"],
                "before": {"cpu": "256", "secret": "old", "list": [1, {"a": 2}]},
                "after": {"cpu": "512", "secret": SECRET, "list": [1, {"a": None}]},
                "after_unknown": {"arn": True, "list": [False, {"a": True}], "container_definitions": True},
                "before_sensitive": {"secret": True},
                "after_sensitive": {"secret": True, "list": [False]},
                "replace_paths": [["cpu"], ["list", 0]],
                "importing": {"id": "x", "identity": {"name": "a"}},
            },
        }
    ],
    "output_changes": {"url": {"actions": ["update"], "before": "a", "after": None, "after_unknown": True}},
    "prior_state": {"values": {"root_module": {"resources": []}}},
    "configuration": {
        "provider_config": {"aws": {"name": "aws"}},
        "root_module": {
            "module_calls": {
                "a": {
                    "source": "../modules/logs",
                    "module": {
                        "resources": [
                            {
                                "address": "aws_ecs_task_definition.this",
                                "expressions": {
                                    "arn": {"references": ["var.a"]},
                                    "volume": [{"name": {"references": ["local.b"]}}],
                                },
                            }
                        ]
                    },
                }
            }
        },
    },
}

ANYTHING = some.recursive(
    some.none()
    | some.booleans()
    | some.integers(-(10**30), 10**30)
    | some.floats()
    | some.text(max_size=8)
    | some.sampled_from(("no-op", "create", "delete", "aws_vpc.this", "module.", "../", "[", "1.2", "2.0")),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(
            some.sampled_from(("actions", "change", "address", "a", "references")), inner, max_size=3
        )
    ),
    max_leaves=8,
)
Step = tuple[int, int, Any]
# By night too, a test ends in its time.
SOME = settings(max_examples=min(settings().max_examples, 1000), suppress_health_check=[HealthCheck.too_slow])


def places_in(document: Any) -> list[tuple[Any, Any]]:
    """Return each container with each key or index that it has, at any depth."""
    found: list[tuple[Any, Any]] = []
    open_ones = [document]
    while open_ones:
        each = open_ones.pop()
        keys = (
            list(each) if isinstance(each, dict) else list(range(len(each))) if isinstance(each, list) else []
        )
        found += [(each, key) for key in keys]
        open_ones += [each[key] for key in keys]
    return found


def changed(steps: list[Step]) -> Any:
    """Return the plan with something removed or replaced at each of the places that the steps name."""
    document = copy.deepcopy(PLAN)
    for where, what, value in steps:
        known = places_in(document)
        if not known:
            break
        container, key = known[where % len(known)]
        if what:
            container[key] = value
        else:
            del container[key]
    return document


def read_whole(document: Any) -> None:
    """Do with a plan all that is done with one."""
    plan = Plan.parse(document)
    assert describe(plan, title="prod").endswith(summary(plan))
    json.loads(to_json(for_scanner(plan.document)))
    assert all(isinstance(each, str) for each in addresses(plan.document))
    list(unreadable_containers(plan.document))
    places(plan=plan.document, root=Path(__file__).parents[2] / "terraform")


def read_or_refused(document: Any) -> None:
    try:
        read_whole(document)
    except PlanRefusedError as error:
        assert error.hint  # noqa: PT017


def test_the_plan_that_is_changed_is_one() -> None:
    read_whole(PLAN)
    assert SECRET not in to_json(for_scanner(PLAN))


@SOME
@given(some.lists(some.tuples(some.integers(0, 500), some.integers(0, 3), ANYTHING), min_size=1, max_size=4))
def test_a_plan_that_is_changed_anywhere_is_read_or_refused(steps: list[Step]) -> None:
    read_or_refused(changed(steps))


@SOME
@given(ANYTHING)
@example(None)
@example([])
@example({"resource_changes": [{"address": "a", "type": "b", "change": {"actions": []}}]})
@example({"resource_changes": [{"address": "a", "type": "b", "change": {"actions": ["explode"]}}]})
def test_what_is_no_plan_at_all_is_refused_or_empty(document: Any) -> None:
    read_or_refused(document)


def nested(levels: int, make: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = make(value)
    return value


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"a": inner}])
@pytest.mark.parametrize("levels", [100, 1000, 50_000])
def test_a_value_of_any_depth_is_read_or_refused(levels: int, make: Callable[[Any], Any]) -> None:
    document = copy.deepcopy(PLAN)
    document["resource_changes"][0]["change"]["after"] = nested(levels, make)  # type: ignore[index]
    read_or_refused(document)


@pytest.mark.parametrize("text", ["[" * 900 + "]" * 900, "[" * 100_000, "1" * 5000, '{"value": "hunter2"}'])
def test_a_secret_text_is_masked_whatever_it_is(text: str) -> None:
    document = copy.deepcopy(PLAN)
    child = document["planned_values"]["root_module"]["child_modules"][0]  # type: ignore[index]
    child["resources"][0]["values"]["container_definitions"] = text

    read_whole(document)
    assert SECRET not in to_json(for_scanner(document))


def archive(content: bytes, *, name: str = "tfstate", compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as made:
        made.writestr(name, content)
    return stream.getvalue()


def refused(path: Path) -> None:
    with pytest.raises(PlanRefusedError, match="not a plan"):
        state_of(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"serial": "x"}',
        b'{"lineage": 1}',
        b"\xff",
        b"[" * 100_000,
        b'{"serial": 1e999}',
    ],
)
def test_a_plan_file_without_a_state_in_it_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan").write_bytes(archive(content))

    refused(tmp_path / "plan")


def test_a_plan_file_that_is_encrypted_or_compressed_otherwise_is_refused(tmp_path: Path) -> None:
    usual = archive(b"{}")
    for offset, value in ((6, 1), (8, 99)):  # of the local header: flags, and the method
        data = bytearray(usual)
        central = data.index(b"PK\x01\x02")
        struct.pack_into("<H", data, offset, value)
        struct.pack_into("<H", data, central + offset + 2, value)
        (tmp_path / "plan").write_bytes(data)

        refused(tmp_path / "plan")


def test_a_plan_file_that_unpacks_to_gigabytes_is_refused_in_little_memory(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "plan", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open("tfstate", "w") as member,
    ):
        for _ in range(80):
            member.write(b" " * 1024 * 1024)

    refused(tmp_path / "plan")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=some.lists(some.tuples(some.integers(0, 400), some.integers(0, 255)), max_size=6),
    end=some.integers(0, 400),
)
def test_a_plan_file_with_changed_bytes_is_read_or_refused(
    tmp_path: Path, cuts: list[tuple[int, int]], end: int
) -> None:
    data = bytearray(archive(json.dumps({"lineage": "abc", "serial": 7}).encode()))
    for where, value in cuts:
        data[where % len(data)] = value
    (tmp_path / "plan").write_bytes(data[: max(1, len(data) - (end if end < len(data) else 0))])

    try:
        state_of(tmp_path / "plan")
    except PlanRefusedError as error:
        assert error.hint  # noqa: PT017

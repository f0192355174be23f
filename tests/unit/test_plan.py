"""A plan in words: its changes, what forces a replacement, and no secret."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.describe import describe, summary
from mclass_tf.errors import PlanRefusedError
from mclass_tf.plan import Action, Plan, SavedPlan, digest, state_of


def change(actions: list[str], before: Any, after: Any, **extra: Any) -> dict[str, Any]:
    return {
        "address": "aws_lb.this",
        "type": "aws_lb",
        "change": {"actions": actions, "before": before, "after": after, **extra},
    }


def plan(*changes: dict[str, Any], outputs: dict[str, Any] | None = None) -> Plan:
    return Plan.parse({"resource_changes": list(changes), "output_changes": outputs or {}})


def told(*changes: dict[str, Any]) -> str:
    return describe(plan(*changes), title="prod")


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        (["create"], Action.CREATE),
        (["update"], Action.UPDATE),
        (["delete"], Action.DELETE),
        (["delete", "create"], Action.REPLACE),
        (["create", "delete"], Action.REPLACE),
        (["forget"], Action.FORGET),
    ],
)
def test_every_action_of_terraform_is_known(actions: list[str], expected: Action) -> None:
    assert plan(change(actions, {}, {})).resources[0].action is expected


def test_what_is_only_read_or_unchanged_is_no_change() -> None:
    made = plan(change(["no-op"], {}, {}), change(["read"], None, {}))

    assert not made.has_changes
    assert describe(made, title="prod").endswith("No changes: infrastructure matches the configuration.")


def test_a_move_or_an_import_of_what_stays_as_it_is_changes_the_state() -> None:
    moved = {**change(["no-op"], {}, {}), "previous_address": "aws_lb.old"}
    imported = change(["no-op"], {}, {}, importing={"id": "lb-1"})
    by_identity = change(["no-op"], {}, {}, importing={"identity": {"name": "a"}})
    later = change(["no-op"], {}, {}, importing={})

    for one, words in (
        (moved, "> aws_lb.this: move from aws_lb.old"),
        (imported, "> aws_lb.this: import lb-1"),
        (by_identity, '> aws_lb.this: import {"name": "a"}'),
        (later, "> aws_lb.this: import (known after apply)"),
    ):
        assert plan(one).has_changes
        assert words in told(one)
    assert summary(plan(moved, imported)) == "1 to move in the state, 1 to import."


def test_a_move_and_an_update_at_once_are_both_told() -> None:
    both = {**change(["update"], {"a": 1}, {"a": 2}), "previous_address": "aws_lb.old"}

    assert "~ aws_lb.this: update in place, move from aws_lb.old" in told(both)
    assert summary(plan(both)) == "1 to update in place, 1 to move in the state."


def test_what_terraform_would_apply_is_a_change_though_no_word_is_known_for_it() -> None:
    made = Plan.parse({"resource_changes": [], "output_changes": {}, "applyable": True})

    assert made.has_changes
    assert describe(made, title="prod") == "prod\n\n\nonly the state changes."
    assert not Plan.parse({"resource_changes": [change(["no-op"], {}, {})], "applyable": False}).has_changes


def test_a_deposed_object_is_told_apart_from_what_took_its_place() -> None:
    assert "- aws_lb.this (deposed object 4c1f): delete" in told(
        {**change(["delete"], {}, None), "deposed": "4c1f"}
    )


@pytest.mark.parametrize(
    ("actions", "reason", "words"),
    [
        (["delete", "create"], "replace_because_tainted", "it is tainted"),
        (["delete", "create"], "replace_by_triggers", "replace_triggered_by"),
        (["delete"], "delete_because_no_resource_config", "no configuration has it any more"),
        (["delete"], "delete_because_of_tomorrow", "delete because of tomorrow"),
    ],
)
def test_why_a_resource_is_replaced_or_deleted_is_told(actions: list[str], reason: str, words: str) -> None:
    assert words in told({**change(actions, {}, {}), "action_reason": reason})


def test_a_changed_output_alone_is_a_change() -> None:
    made = plan(outputs={"url": {"actions": ["update"], "before": "a", "after": "b"}})

    assert made.has_changes
    assert 'url: "a" → "b"' in describe(made, title="prod")
    assert summary(made) == "only outputs change."


def test_new_outputs_are_counted_not_listed() -> None:
    new = {"actions": ["create"], "before": None, "after": "x"}
    text = describe(plan(outputs={"url": new, "arn": new}), title="prod")

    assert "2 new outputs" in text
    assert "1 new output\n" in describe(plan(outputs={"url": new}), title="prod")
    assert "url" not in text


def test_an_update_names_each_attribute_with_old_and_new_value() -> None:
    text = told(
        change(["update"], {"idle_timeout": 60, "tags": {"a": "1"}}, {"idle_timeout": 30, "tags": {"a": "2"}})
    )

    assert "~ aws_lb.this: update in place" in text
    assert "idle_timeout: 60 → 30" in text
    assert 'tags.a: "1" → "2"' in text
    assert "1 to update in place." in text


def test_the_attribute_that_forces_a_replacement_is_marked_and_no_other() -> None:
    text = told(
        change(
            ["delete", "create"],
            {"name": "a", "idle_timeout": 60},
            {"name": "b", "idle_timeout": 30},
            replace_paths=[["name"]],
        )
    )

    assert 'name: "a" → "b"  ← forces replacement' in text
    assert text.count("forces replacement") == 1
    assert "the new one first" not in text


def test_a_replacement_that_creates_first_says_so() -> None:
    assert "(the new one first)" in told(change(["create", "delete"], {}, {}))


def test_a_nested_attribute_that_forces_a_replacement_is_marked() -> None:
    before, after = (
        {"network": [{"subnets": ["a"], "public": False}]},
        {"network": [{"subnets": ["b"], "public": False}]},
    )

    text = told(change(["delete", "create"], before, after, replace_paths=[["network", 0, "subnets"]]))

    assert 'network[0].subnets[0]: "a" → "b"  ← forces replacement' in text


def test_a_value_that_is_known_only_later_is_said_to_be() -> None:
    text = told(change(["update"], {"arn": "a"}, {}, after_unknown={"arn": True}))

    assert 'arn: "a" → (known after apply)' in text


@pytest.mark.parametrize(
    "marks",
    [
        {"after_sensitive": {"password": True}},
        {"before_sensitive": {"password": True}},
        {"after_sensitive": True},
        {"after_sensitive": {"password": {"inner": True}}},
    ],
)
def test_a_secret_is_never_shown(marks: dict[str, Any]) -> None:
    text = told(change(["update"], {"password": "hunter2"}, {"password": {"inner": "hunter3"}}, **marks))

    assert "hunter" not in text
    assert "(sensitive)" in text


def test_a_secret_whose_new_value_is_known_only_later_is_not_shown_either() -> None:
    marks = {"before_sensitive": {"password": True}, "after_unknown": {"password": True}}

    text = told(change(["update"], {"password": "hunter2"}, {}, **marks))

    assert "hunter" not in text
    assert "password: (sensitive)" in text


def test_a_secret_in_a_part_of_what_is_known_only_later_is_not_shown() -> None:
    marks = {"before_sensitive": {"login": {"password": True}}, "after_unknown": {"login": True}}

    text = told(change(["update"], {"login": {"password": "hunter2"}}, {}, **marks))

    assert "hunter" not in text
    assert "login: (sensitive) → (known after apply)" in text


def test_a_secret_output_is_never_shown() -> None:
    outputs = {
        "key": {"actions": ["update"], "before": "hunter2", "after": "hunter3", "after_sensitive": True}
    }

    assert "hunter" not in describe(plan(outputs=outputs), title="prod")


def test_a_secret_is_not_shown_where_it_was_made_without_a_mark() -> None:
    """The value of the header of test traffic: a terraform_data makes it, and only its users know that it is a secret."""
    value = "f73d7d27-27ba-b889-88e6-39c6f7316086"
    made = change(
        ["delete", "create"],
        {"id": "eba7baa6", "input": value, "output": {"deep": [value]}},
        {},
        after_unknown={"id": True, "input": True, "output": True},
    )
    marked = {"actions": ["update"], "before": {"value": value}, "before_sensitive": {"value": True}}
    again = {"actions": ["update"], "before": "old", "after": value}

    by_output = describe(plan(made, outputs={"header": marked, "again": again}), title="prod")
    user = change(["no-op"], {"values": [value]}, {"values": [value]}, before_sensitive={"values": True})
    by_resource = told(made, user)

    for text in (by_output, by_resource):
        assert value not in text
        assert "input: (sensitive)" in text
        assert 'id: "eba7baa6" → (known after apply)' in text


def test_a_short_text_that_is_marked_somewhere_is_shown_elsewhere() -> None:
    user = change(["no-op"], {"on": "true"}, {"on": "true"}, before_sensitive=True)
    long = change(["no-op"], {"key": "k" * 20}, {}, before_sensitive=True)
    none = change(["update"], {"a": "b"}, {"password": "hunter2"}, before_sensitive={"password": True})

    assert "hunter" not in told(user, long, none)
    assert '"true" → "false"' in told(user, change(["update"], {"a": "true"}, {"a": "false"}))


def test_a_long_value_is_cut() -> None:
    text = told(change(["update"], {"policy": "a" * 500}, {"policy": "b" * 500}))

    assert max(map(len, text.splitlines())) < 200


def saved(path: Path) -> SavedPlan:
    return SavedPlan(
        path=path,
        environment="prod",
        target="aws",
        sha256=digest(path),
        lineage="l",
        serial=1,
        has_changes=True,
        created="2026-11-23T00:00:00+00:00",
        inputs={},
        requested_image=None,
        image_in_force="",
    )


def test_an_altered_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    path.write_bytes(b"as approved")
    bound = saved(path)
    bound.verify_bytes()

    path.write_bytes(b"as altered!")

    with pytest.raises(PlanRefusedError, match="altered") as caught:
        bound.verify_bytes()
    assert caught.value.exit_code == 5
    assert "plan prod" in caught.value.hint


def test_a_plan_that_is_gone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    path.touch()
    bound = saved(path)
    path.unlink()

    with pytest.raises(PlanRefusedError, match="gone"):
        bound.verify_bytes()


def test_the_state_that_a_plan_was_made_from_is_read_from_its_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "plan", "w") as archive:
        archive.writestr("tfstate", json.dumps({"lineage": "abc", "serial": 7}))

    assert state_of(tmp_path / "plan") == ("abc", 7)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + b"\0" * 18])
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan").write_bytes(content)

    with pytest.raises(PlanRefusedError, match="not a plan"):
        state_of(tmp_path / "plan")

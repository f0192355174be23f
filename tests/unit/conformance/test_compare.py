"""Differences of two recordings: found where there are any, and nowhere else."""

from __future__ import annotations

import time
from itertools import product
from string import ascii_lowercase
from typing import Any

import pytest

from mclass_tf.conformance.anonymous import template
from mclass_tf.conformance.compare import compare
from mclass_tf.conformance.recording import (
    CallEntry,
    Chapter,
    DeploymentEntry,
    EventEntry,
    Recording,
    TargetEntry,
    TaskEntry,
    WeightsEntry,
)
from mclass_tf.errors import ConfigurationError


def _recording(*entries: Any, every: float | None = 1.0, is_partial: bool = False, **more: Any) -> Recording:
    chapter = Chapter(name="rolling", entries=entries, every=every, outcome="done")
    return Recording(format=1, cloud="local", chapters=(chapter,), is_partial=is_partial, **more)


def _event(at: float | None, message: str) -> EventEntry:
    return EventEntry(at=at, message=message)


def _kinds(one: Recording, other: Recording) -> list[tuple[str, str]]:
    return [(each.what, each.entry) for each in compare(one, other)]


def _drained(seconds: float) -> tuple[TargetEntry, ...]:
    return (
        TargetEntry(at=0.0, target="target-1", state="draining"),
        TargetEntry(at=seconds, target="target-1", state=""),
    )


def test_other_numbers_labels_and_times_are_no_difference() -> None:
    one = _recording(_event(1.0, "(service a-1) has started 2 tasks: (task id-1) (task id-2)."))
    other = _recording(_event(60.0, "(service b-7) has started 1 tasks: (task id-9)."))

    assert _kinds(one, other) == []


def test_other_words_are_a_difference_that_quotes_both() -> None:
    (difference,) = compare(_recording(_event(1.0, "is steady")), _recording(_event(1.0, "is a steady one")))

    assert (difference.chapter, difference.what, difference.entry) == ("rolling", "words", "event")
    assert (difference.left, difference.right) == ("is steady", "is a steady one")


def test_another_order_of_events_is_a_difference() -> None:
    one = _recording(_event(1.0, "completed"), _event(2.0, "steady"))
    other = _recording(_event(1.0, "steady"), _event(2.0, "completed"))

    assert _kinds(one, other) == [("order", "event")]
    assert _kinds(one, one) == []


def test_what_goes_on_side_by_side_has_no_order() -> None:
    one = _recording(_event(1.0, "a"), _event(2.0, "b"), _event(3.0, "a"), _event(4.0, "b"))
    other = _recording(_event(1.0, "b"), _event(2.0, "a"), _event(3.0, "b"), _event(4.0, "a"))
    mixed = _recording(_event(1.0, "b"), _event(2.0, "a"), _event(3.0, "a"), _event(4.0, "b"))

    assert _kinds(one, mixed) == []
    assert _kinds(one, other) == [("order", "event")]


def test_durations_of_timers_may_differ_within_their_tolerance_and_the_looks() -> None:
    assert _kinds(_recording(*_drained(60.0)), _recording(*_drained(75.0))) == []
    assert _kinds(_recording(*_drained(60.0)), _recording(*_drained(80.0))) == [
        ("duration", "target state draining")
    ]
    assert _kinds(_recording(*_drained(60.0), every=10.0), _recording(*_drained(80.0))) == []


def test_what_was_too_short_to_be_seen_is_not_missed() -> None:
    def task(*states: tuple[float, str]) -> tuple[TaskEntry, ...]:
        return tuple(TaskEntry(at=at, task="task-1", status=status) for at, status in states)

    whole = _recording(*task((0.0, "PENDING"), (1.0, "ACTIVATING"), (2.0, "RUNNING")))
    slow = _recording(*task((0.0, "PENDING"), (2.0, "RUNNING")), every=5.0)
    sharp = _recording(*task((0.0, "PENDING"), (2.0, "RUNNING")), every=0.0)

    assert _kinds(whole, slow) == []
    assert _kinds(whole, sharp) == [("missing", "task status")]


def test_states_that_no_timer_determines_are_never_missed_by_somebody_who_looks_slowly() -> None:
    def task(*states: tuple[float, str]) -> tuple[TaskEntry, ...]:
        return tuple(TaskEntry(at=at, task="task-1", status=status) for at, status in states)

    pulled = _recording(
        *task((0.0, "PROVISIONING"), (90.0, "RUNNING"), (200.0, "DEACTIVATING"), (290.0, "STOPPED"))
    )
    slow = _recording(*task((0.0, "RUNNING"), (100.0, "DEACTIVATING"), (190.0, "STOPPED")), every=5.0)
    undrained = _recording(*task((0.0, "RUNNING"), (100.0, "STOPPED")), every=5.0)

    assert _kinds(pulled, slow) == []
    assert ("missing", "task status") in _kinds(pulled, undrained)


def test_weights_are_compared_as_steps_of_the_new_version() -> None:
    def shifted(*shares: float, old: str = "group-1", new: str = "group-2") -> Recording:
        weights = (
            WeightsEntry(at=60.0 * n, rule="production", weights={old: 100 - s, new: s})
            for n, s in enumerate(shares)
        )
        return _recording(*weights)  # fmt: skip

    assert _kinds(shifted(0, 20, 100), shifted(0, 20, 100, old="group-2", new="group-1")) == []
    assert ("missing", "weights") in _kinds(shifted(0, 20, 100), shifted(0, 100))


def test_a_missing_field_another_type_and_another_error_are_differences() -> None:
    def call(answer: dict[str, str] | None = None, code: str = "") -> Recording:
        return _recording(CallEntry(service="ecs", operation="X", answer=answer, code=code))

    whole = call({"a": "string", "b": "number"})
    assert _kinds(whole, call({"a": "string"})) == [("answer", "ecs:X b")]
    assert _kinds(whole, call({"a": "string", "b": "string"})) == [("answer", "ecs:X b")]
    assert _kinds(call(code="ConflictException"), call(code="ClientException")) == [("error", "ecs:X")]


def test_fields_of_an_empty_list_are_not_missed() -> None:
    def call(**answer: str) -> Recording:
        return _recording(CallEntry(service="ecs", operation="X", answer=answer))

    assert _kinds(call(**{"l": "array", "l[]": "object", "l[].a": "string"}), call(l="array")) == []


def test_a_field_that_only_some_answers_have_is_not_missed() -> None:
    def calls(*answers: dict[str, str]) -> Recording:
        return _recording(*(CallEntry(service="ecs", operation="X", answer=answer) for answer in answers))

    running, stopped = {"status": "string"}, {"status": "string", "stopCode": "string"}

    assert _kinds(calls(running, stopped), calls(running)) == []
    assert _kinds(calls(running), calls(running, stopped)) == []
    assert _kinds(calls(stopped), calls(running)) == [("answer", "ecs:X stopCode")]


def test_of_a_partial_recording_only_what_it_says_is_compared() -> None:
    partial = _recording(_event(None, "steady"), every=None, is_partial=True)
    whole = _recording(_event(1.0, "started"), _event(2.0, "steady"))

    assert _kinds(partial, whole) == []
    assert _kinds(whole, partial) == []
    assert _kinds(partial, _recording(_event(1.0, "started"))) == [("missing", "event")]


def test_a_status_that_is_skipped_and_other_settings_are_differences() -> None:
    def deployed(*statuses: str, **settings: str) -> Recording:
        entries = (
            DeploymentEntry(at=30.0 * n, deployment="deployment-1", status=s) for n, s in enumerate(statuses)
        )
        return _recording(*entries, settings=settings)  # fmt: skip

    one = deployed("IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL", count="2")
    other = deployed("IN_PROGRESS", "ROLLBACK_SUCCESSFUL", count="3")

    assert _kinds(one, other) == [("settings", "count"), ("missing", "deployment status")]


def test_a_chapter_that_only_one_has_is_a_difference() -> None:
    empty = Recording(format=1, cloud="aws")

    assert _kinds(empty, _recording()) == [("chapter", "the whole chapter")]
    assert _kinds(Recording(format=1, cloud="aws", is_partial=True), _recording()) == []


def test_a_chapter_with_more_different_things_than_a_life_has_is_refused() -> None:
    """Each is compared with each other one: a stranger's file must not keep the command busy for hours."""
    words = ("".join(letters) for letters in product(ascii_lowercase, repeat=3))
    large = _recording(*(_event(float(at), word) for at, word in zip(range(600), words, strict=False)))

    with pytest.raises(ConfigurationError, match="600 different things, more than 500"):
        compare(_recording(_event(1.0, "m")), large)


def test_many_answers_with_different_fields_take_no_time_that_grows_with_their_square() -> None:
    calls = (
        CallEntry(service="ecs", operation="ListTasks", answer={f"field{number}": "string"})
        for number in range(5000)
    )
    began = time.process_time()

    compare(
        _recording(*calls), _recording(CallEntry(service="ecs", operation="ListTasks", answer={"a": "b"}))
    )

    assert time.process_time() - began < 5.0


@pytest.mark.parametrize(
    "text", ["a-" * 2000, "A-a" * 1300, "a" * 4000, "(service " * 400, "(task <a>) " * 300]
)
def test_the_wording_of_a_hostile_text_is_found_at_once(text: str) -> None:
    began = time.process_time()

    template(text)

    assert time.process_time() - began < 1.0

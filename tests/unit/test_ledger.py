"""The ledger: objects are written once and read back unchanged, and determine the proven releases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.aws import Access, Aws
from mclass_tf.environment import Backend
from mclass_tf.errors import DamagedObjectError, LedgerError
from mclass_tf.ledger import (
    AttemptEnd,
    AttemptStart,
    Event,
    GateVerdict,
    Ledger,
    Record,
    Step,
    UnreadableRecord,
    proven_releases,
)
from tests.unit.damaged import DAMAGED
from tests.unit.fake_s3 import FakeS3

BEGUN = AttemptStart(
    command="release",
    environment="dev",
    who="arn:aws:sts::111111111111:assumed-role/deploy/kim",
    at="2026-11-23T05:31:52.070+00:00",
    commit="c0ffee",
    digest="sha256:" + "a" * 64,
    revision="c0ffee",
    strategy="ROLLING",
    state_serial=3,
    plan_sha256="b" * 64,
    gates=(GateVerdict(gate="checkov", passed=True, checked=118, waived=18),),
)
ENDED = AttemptEnd(
    at="2026-11-23T05:32:13.925+00:00",
    outcome="released",
    cause="",
    task_definition_arn="task-definition/mclass-task:2",
    service_deployment_arn="service-deployment/1",
    is_verified=True,
    state_serial=4,
    events=(Event(at="2026-11-23T05:32:10+00:00", message="has reached a steady state."),),
)


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


def ledger(
    s3: FakeS3, *, key: str = "mclass/terraform.tfstate", report: Callable[[str], object] = str
) -> Ledger:
    aws = Aws(Access(region="ap-northeast-2"))
    aws.__dict__["s3"] = s3
    backend = Backend(
        file=Path("backend.hcl"), bucket="state", key=key, region="ap-northeast-2", allowed_account_ids=()
    )
    return Ledger(aws, backend, environment="dev", report=report)


def test_an_attempt_is_read_back_as_it_was_written(s3: FakeS3) -> None:
    book = ledger(s3)
    name = book.begin(BEGUN)
    book.end(name, ENDED)

    assert list(book.latest_first(most=50)) == [Record(name=name, begun=BEGUN, ended=ENDED)]


@pytest.mark.parametrize(
    ("key", "prefix"),
    [("mclass/terraform.tfstate", "mclass/releases/dev/"), ("terraform.tfstate", "releases/dev/")],
)
def test_the_ledger_lies_beside_the_state(s3: FakeS3, key: str, prefix: str) -> None:
    name = ledger(s3, key=key).begin(BEGUN)

    index = f"{prefix}by-image/{BEGUN.digest.replace(':', '-')}/{name}"
    assert list(s3.objects) == [f"{prefix}{name}/started.json", index]
    assert ledger(s3, key=key).url(name) == f"s3://state/{prefix}{name}/"


def test_a_written_object_is_never_changed(s3: FakeS3) -> None:
    book = ledger(s3)
    name = book.begin(BEGUN)
    book.end(name, ENDED)
    before = dict(s3.objects)

    with pytest.raises(LedgerError, match="already"):
        book.end(name, replace(ENDED, outcome="failed"))

    assert s3.objects == before


def test_a_stored_write_whose_response_was_lost_is_no_error(s3: FakeS3) -> None:
    s3.lost_answers = 4
    book = ledger(s3)

    name = book.begin(BEGUN)
    book.step(name, 1, step("planning"))
    book.end(name, ENDED)

    assert list(book.latest_first(most=50)) == [Record(name=name, begun=BEGUN, ended=ENDED)]
    assert (s3.lost_answers, len(s3.objects)) == (0, 4)


def test_an_attempt_does_not_begin_if_another_has_its_name(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "same")
    ledger(s3).begin(BEGUN)

    with pytest.raises(LedgerError, match="already"):
        ledger(s3).begin(replace(BEGUN, who="lee"))


def test_a_failed_write_is_reported_if_reading_back_fails_too(s3: FakeS3) -> None:
    s3.refusal, s3.refuses_reads = "AccessDenied", True

    with pytest.raises(LedgerError, match="could not be written"):
        ledger(s3).begin(BEGUN)


def test_an_attempt_that_was_cut_off_has_no_end(s3: FakeS3) -> None:
    book = ledger(s3)
    book.begin(BEGUN)

    (record,) = book.latest_first(most=50)

    assert record.ended is None
    assert not record.is_proven


def test_the_latest_attempt_comes_first(s3: FakeS3) -> None:
    book = ledger(s3)
    times = [
        "2026-11-23T05:31:52.070+00:00",
        "2026-12-01T00:00:00.000+00:00",
        "2026-11-30T23:59:59.999+09:00",
    ]
    for at in times:
        book.begin(AttemptStart(**{**BEGUN.__dict__, "at": at}))

    assert [record.begun.at for record in book.latest_first(most=50)] == [times[1], times[2], times[0]]


def test_many_attempts_come_in_order_and_unneeded_ones_are_not_read(s3: FakeS3) -> None:
    book = ledger(s3)
    times = [f"2026-11-23T05:{minute:02d}:00.000+00:00" for minute in range(20)]
    for at in times:
        book.end(book.begin(AttemptStart(**{**BEGUN.__dict__, "at": at})), ENDED)

    assert [record.begun.at for record in book.latest_first(most=50)] == times[::-1]
    s3.calls.clear()
    assert next(book.latest_first(most=50)).begun.at == times[-1]
    assert s3.calls["GetObject"] == 2


def test_keys_of_a_later_version_are_ignored(s3: FakeS3) -> None:
    book = ledger(s3)
    name = book.begin(BEGUN)
    key = f"mclass/releases/dev/{name}/started.json"
    later = {**json.loads(s3.objects[key][0]), "soak": 3, "version": 9}
    s3.objects[key] = (json.dumps(later).encode(), s3.now)

    assert next(book.latest_first(most=50)).begun == BEGUN


def test_a_refused_write_is_reported_with_the_missing_permission(s3: FakeS3) -> None:
    s3.refusal = "AccessDenied"

    with pytest.raises(LedgerError, match="could not be written") as caught:
        ledger(s3).begin(BEGUN)

    assert "s3:PutObject" in caught.value.hint


def record(command: str, revision: int, *, verified: bool = True) -> Record:
    begun = AttemptStart(**{**BEGUN.__dict__, "command": command})
    ended = AttemptEnd(**{**ENDED.__dict__, "task_definition_arn": str(revision), "is_verified": verified})
    return Record(name=f"{command} {revision}", begun=begun, ended=ended)


@pytest.mark.parametrize(
    ("attempts", "in_force"),
    [
        ([("release", 1), ("release", 2)], ["1", "2"]),
        ([("release", 1), ("release", 2), ("rollback", 1)], ["1"]),
        ([("release", 1), ("release", 2), ("release", 3), ("rollback", 2)], ["1", "2"]),
        ([("release", 1), ("release", 2), ("release", 3), ("rollback", 2), ("rollback", 1)], ["1"]),
        ([("release", 1), ("release", 2), ("rollback", 1), ("release", 4)], ["1", "4"]),
        ([("release", 1), ("release", 1)], ["1"]),
        ([("rollback", 7)], ["7"]),
        ([("release", 1), ("rollback", 7)], ["1", "7"]),
        ([], []),
    ],
)
def test_a_rollback_removes_the_releases_after_the_one_that_it_returns_to(
    attempts: list[tuple[str, int]], in_force: list[str]
) -> None:
    found = proven_releases([record(command, revision) for command, revision in attempts])

    assert [each.ended.task_definition_arn for each in found if each.ended] == in_force


def test_only_a_verified_release_is_proven() -> None:
    cut_off = Record(name="x", begun=BEGUN, ended=None)

    found = proven_releases([record("release", 1), record("release", 2, verified=False), cut_off])

    assert [each.name for each in found] == ["release 1"]


def step(what: str, **details: Any) -> Step:
    return Step(what=what, at="2026-11-23T05:31:53.000+00:00", details=details)


def test_a_cut_off_attempt_has_the_steps_that_it_reached(s3: FakeS3) -> None:
    book = ledger(s3)
    name = book.begin(BEGUN)
    steps = [step("planning"), step("planned", plan_sha256="c" * 64), step("BAKE_TIME", production=100.0)]
    for number, each in enumerate(steps, start=1):
        book.step(name, number, each)

    (record,) = book.latest_first(most=50)

    assert f"mclass/releases/dev/{name}/step-03.json" in s3.objects
    assert record.steps == tuple(steps)
    assert record.at_step == "BAKE_TIME"
    assert record.begun.plan_sha256 == "c" * 64, "known since it has planned"


def test_an_ended_attempt_has_its_steps_in_its_end(s3: FakeS3) -> None:
    book = ledger(s3)
    name = book.begin(BEGUN)
    book.end(name, replace(ENDED, steps=(step("planning"), step("verifying"))))

    (record,) = book.latest_first(most=50)

    assert [each.what for each in record.steps] == ["planning", "verifying"]
    assert not record.is_harmless


def test_only_the_same_step_may_be_written_again_after_a_lost_response(s3: FakeS3) -> None:
    book = ledger(s3)
    name = book.begin(BEGUN)
    book.step(name, 1, step("planning"))

    book.step(name, 1, step("planning"))

    with pytest.raises(LedgerError, match="already"):
        book.step(name, 1, step("applying"))


@pytest.mark.parametrize(
    ("outcome", "steps", "is_harmless"),
    [
        ("refused", ("planning", "planned"), True),
        ("failed", ("planning",), True),
        ("failed", ("planning", "applying"), False),
        ("released", (), False),
        ("cut off", ("planning",), False),
    ],
)
def test_only_an_attempt_that_ended_before_any_change_is_harmless(
    outcome: str, steps: tuple[str, ...], *, is_harmless: bool
) -> None:
    ended = replace(ENDED, outcome=outcome)

    record = Record(name="x", begun=BEGUN, ended=ended, steps=tuple(map(step, steps)))

    assert record.is_harmless is is_harmless


def test_an_attempt_is_read_by_its_url(s3: FakeS3) -> None:
    book = ledger(s3)
    name = book.begin(BEGUN)

    assert book.read(book.url(name)).name == name
    with pytest.raises(LedgerError, match="the ledger has no"):
        book.read("s3://elsewhere/mclass/releases/dev/x/")


_OTHERWISE = {
    "no time": b'{"at": "yesterday"}',
    "no time zone": b'{"at": "2026-11-23T05:31:52"}',
    "another type": json.dumps({**asdict(BEGUN), "digest": 7}).encode(),
    "a gate of another type": json.dumps({**asdict(BEGUN), "gates": [7]}).encode(),
}


@pytest.mark.parametrize("body", [*DAMAGED.values(), *_OTHERWISE.values()], ids=lambda body: repr(body[:30]))
@pytest.mark.parametrize("what", ["started", "step-01", "ended"])
def test_an_unreadable_attempt_is_named_and_the_others_are_read(s3: FakeS3, what: str, body: bytes) -> None:
    told: list[str] = []
    book = ledger(s3, report=told.append)
    names = [book.begin(replace(BEGUN, at=f"2026-11-23T05:31:5{second}.070+00:00")) for second in range(3)]
    for name in names:
        book.step(name, 1, Step(what="planning", at=BEGUN.at))
        if what != "step-01":  # an end has all the steps
            book.end(name, ENDED)
    key = f"mclass/releases/dev/{names[1]}/{what}.json"
    s3.objects[key] = (body, s3.now)

    found = list(book.all_latest_first(most=50))

    assert [each.name for each in found] == names[::-1]
    damaged = found[1]
    assert isinstance(damaged, UnreadableRecord)
    assert (damaged.at, damaged.url) == (s3.now, f"s3://state/{key}")
    assert damaged.reason
    assert [each.name for each in book.latest_first(most=50)] == [names[2], names[0]]
    (line,) = told
    assert line == f"an attempt is left out: s3://state/{key} cannot be read: {damaged.reason}"
    with pytest.raises(DamagedObjectError):
        book.read(book.url(names[1]))


@pytest.mark.parametrize("step", ["planned", "before"])
def test_wrong_details_of_a_step_make_an_attempt_unreadable(s3: FakeS3, step: str) -> None:
    book = ledger(s3)
    name = book.begin(BEGUN)
    book.step(name, 1, Step(what=step, at=BEGUN.at, details={"gates": [{"gate": 7}], "exit_code": "0"}))

    (found,) = book.all_latest_first(most=50)

    assert isinstance(found, UnreadableRecord)
    assert "its steps" in found.reason

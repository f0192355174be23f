"""Whatever lies in the bucket in the place of ledger, lease, lock or state: it is read, or named with its URL; nothing else happens.

Hypothesis makes what lies there: bytes, JSON of any shape, and valid documents with something changed. The short run of each
change is the same every time; `HYPOTHESIS_PROFILE=nightly` makes a long one.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from mclass_tf import stored, verify
from mclass_tf.attempt_names import AttemptNames, stamp, time_of
from mclass_tf.cli.promote_commands import history_document, history_text
from mclass_tf.cli.release_commands import _attempt_document, _attempt_text
from mclass_tf.environment import Backend, PromotionSettings
from mclass_tf.errors import (
    DamagedObjectError,
    LeaseHeldError,
    LeaseLostError,
    MclassError,
    VerificationError,
)
from mclass_tf.flows.attempt import attempts_on, ledger_of, requested_pauses, revision_of
from mclass_tf.flows.history import history, unfinished_attempt
from mclass_tf.flows.image_in_force import image_in_force
from mclass_tf.flows.proof import require_not_withdrawn, require_proven
from mclass_tf.flows.resume import resumable_attempt
from mclass_tf.flows.rollback import _named, _previous
from mclass_tf.lease import LIFETIME, Holder
from mclass_tf.ledger import (
    AnalysisResult,
    AttemptEnd,
    AttemptStart,
    Event,
    OneOffResult,
    Origin,
    SmokeResult,
    Stage,
    Step,
    Traffic,
    VersionCounts,
)
from mclass_tf.ledger import Record as AttemptRecord
from mclass_tf.terraform_state import State, lock, read
from tests.unit.damaged import DAMAGED
from tests.unit.fake_s3 import FakeS3
from tests.unit.fake_service import BEGAN, DIGEST, NEW
from tests.unit.flows.test_resume import Book, record, rolling_out, step
from tests.unit.flows.test_rollback import going
from tests.unit.test_lease import KEY as LEASE_KEY
from tests.unit.test_lease import KIM, LEE
from tests.unit.test_lease import lease as lease_in

TEXTS = some.text(some.characters(exclude_categories=()), max_size=20)  # lone surrogates too
SCALARS = (
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats()
    | TEXTS
    | some.sampled_from(
        ["", "released", "rolled back", "applying", "planned", "before", "2026-11-23T05:31:52+00:00"]
    )
)
VALUES = some.recursive(
    SCALARS,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)

STARTED = asdict(
    replace(
        record().begun,
        promoted_from=Origin(environment="qa", record="s3://state/x/"),
        resumes="s3://state/releases/dev/y/",
        pause_at=("BAKE_TIME",),
    )
)
ENDED = asdict(
    replace(
        cast(
            "AttemptEnd",
            record(step("planning"), step("applying", serving=NEW), rolling_out(), outcome="released").ended,
        ),
        events=(Event(at=BEGAN.isoformat(), message="steady"),),
        smoke=(SmokeResult(path="/version"),),
        before=(OneOffResult(command="migrate", task_arn="task/1", exit_code=0),),
        stages=(Stage(name="BAKE_TIME", at=BEGAN.isoformat(), production=100.0),),
        analysis=AnalysisResult(
            verdict="passed",
            reason="alike",
            new=VersionCounts(requests=1, errors=0),
            old=VersionCounts(requests=1, errors=0),
        ),
        traffic=Traffic(requests=1, errors=0),
    )
)
STEP = asdict(step("before", command="migrate", task_arn="task/1", exit_code=0))
HOLDER = asdict(KIM)
STATE = {
    "version": 4,
    "lineage": "l",
    "serial": 3,
    "outputs": {
        "image_digest": {"value": DIGEST, "type": "string"},
        "cluster_name": {"value": "c"},
        "secret": {"value": "x", "sensitive": True},
    },
}
LOCK = {"ID": "3f0c1a0e", "Who": "kim@laptop"}


def paths(document: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where values stand in a document."""
    inner: Any = (
        document.items()
        if isinstance(document, Mapping)
        else enumerate(document)
        if isinstance(document, (list, tuple))
        else ()
    )
    return [before, *(path for key, value in inner for path in paths(value, (*before, key)))]


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a document with another value at a path; `...` removes it."""
    if not path:
        return value
    key, *rest = path
    if isinstance(document, Mapping):
        if not rest and value is ...:
            return {name: each for name, each in document.items() if name != key}
        return {**document, key: changed(document[key], tuple(rest), value)}
    items = list(document)
    if not rest and value is ...:
        return items[:key] + items[key + 1 :]
    items[key] = changed(items[key], tuple(rest), value)
    return items


@some.composite
def mutants(draw: Any, document: Mapping[str, Any]) -> bytes:
    """A valid document with a value changed or removed, or its bytes cut off or altered."""
    path = draw(some.sampled_from(paths(document)))
    value = draw(VALUES | some.just(...)) if path else draw(VALUES)
    text = json.dumps(changed(document, path, value)).encode()
    match draw(some.sampled_from(["whole", "cut off", "altered"])):
        case "cut off":
            return text[: draw(some.integers(0, len(text)))]
        case "altered":
            at = draw(some.integers(0, len(text) - 1))
            inserted: bytes = draw(some.binary(max_size=3))
            return text[:at] + inserted + text[at + 1 :]
        case _:
            return text


def bodies(*documents: Mapping[str, Any]) -> some.SearchStrategy[bytes]:
    """What may lie where one of some documents is to be."""
    anything = some.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode())
    small = [body for body in DAMAGED.values() if len(body) < 1_000]
    return some.one_of(anything, some.sampled_from(small), *(mutants(document) for document in documents))


@pytest.mark.parametrize("kind", [AttemptStart, AttemptEnd, Step, Holder])
@given(body=bodies(STARTED, ENDED, STEP, HOLDER))
def test_an_object_is_parsed_or_named_with_a_reason(kind: type[Any], body: bytes) -> None:
    try:
        found = stored.parsed(body, kind, url="s3://state/x")
    except DamagedObjectError as error:
        shown(f"{error.url} {error.reason}")
    else:
        assert isinstance(found, kind)
        shown(json.dumps(asdict(found), ensure_ascii=False, default=str))


def shown(text: str) -> None:
    """Make sure that a terminal can take a text: one with half a character in it ends in a traceback."""
    text.encode()


def readers(book: Book) -> list[Callable[[], object]]:
    """Return what reads the ledger, whoever wrote it."""
    session, ledger = book.session, ledger_of(book.session)
    state = State(lineage="", serial=0, outputs={"image_digest": DIGEST})

    def told() -> None:
        found = history(session, limit=10)
        shown(history_text("dev", found))
        shown(json.dumps(history_document("dev", found), ensure_ascii=False))

    def status() -> None:
        last = unfinished_attempt(session)
        if last is not None:
            shown("\n".join(_attempt_text("dev", last)))
            shown(json.dumps(_attempt_document(last), ensure_ascii=False))

    return [
        told,
        status,
        lambda: [each.name for each in ledger.of_image(DIGEST)],
        lambda: revision_of(session, DIGEST),
        lambda: [*attempts_on(session, "arn"), *requested_pauses(session, "arn")],
        lambda: _previous(going(book), going(book).service()),
        lambda: _named(going(book), DIGEST),
        lambda: resumable_attempt(ledger.latest_first(most=10), environment="dev"),
        lambda: require_not_withdrawn(session, digest=DIGEST),
        lambda: require_proven(
            ledger.latest_first(most=10),
            digest=DIGEST,
            environment="dev",
            settings=PromotionSettings(soak_minutes=1),
            now=BEGAN + dt.timedelta(days=1),
        ),
        lambda: shown(str(image_in_force(session, state))),
    ]


@given(started=bodies(STARTED), ended=some.none() | bodies(ENDED), steps=some.lists(bodies(STEP), max_size=2))
def test_an_attempt_of_anything_stops_no_command_and_hides_no_other(
    started: bytes, ended: bytes | None, steps: list[bytes]
) -> None:
    book = Book()
    ledger = ledger_of(book.session)
    good = [ledger.begin(replace(record().begun, at=f"2026-11-23T0{hour}:00:00+00:00")) for hour in (1, 3)]
    for name in good:
        ledger.end(name, cast("AttemptEnd", record(outcome="released").ended))
    bad = "releases/dev/20261123T020000.000Z-00000000/"
    book.s3.objects[f"{bad}started.json"] = (started, BEGAN)
    for number, body in enumerate(steps, start=1):
        book.s3.objects[f"{bad}step-{number:02d}.json"] = (body, BEGAN)
    if ended is not None:
        book.s3.objects[f"{bad}ended.json"] = (ended, BEGAN)

    for reader in readers(book):
        try:
            reader()
        except MclassError as error:
            shown(f"{error} {error.hint}")

    found = [each.name for each in ledger.latest_first(most=10) if isinstance(each, AttemptRecord)]
    assert [name for name in found if name in good] == good[::-1]
    for line in book.lines:
        shown(line)


@given(
    keys=some.lists(
        some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), max_size=8
    )
)
def test_keys_of_anything_beside_the_attempts_and_in_the_index_stop_nothing(keys: list[str]) -> None:
    book = Book()
    ledger = ledger_of(book.session)
    name = ledger.begin(record().begun)
    for key in keys:
        book.s3.objects[f"releases/dev/{key}"] = (b"", BEGAN)
        book.s3.objects[f"releases/dev/by-image/{DIGEST.replace(':', '-')}/{key}"] = (b"", BEGAN)

    assert [each.name for each in ledger.of_image(DIGEST)] == [name]
    assert all(time_of(key) for key in keys)


class Impatient(FakeS3):
    """A bucket that is not listed without end."""

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        assert self.calls["ListObjectsV2"] < 5_000, "it is listed without end"
        return super().list_objects_v2(**request)


@given(
    seconds=some.lists(some.integers(-(10**9), 10**10), max_size=60),
    now=some.integers(-(10**9), 2 * 10**10),
    a_call=some.integers(1, 20),
)
# Halfway to a crowd, and halfway again, without ever coming there.
@example(
    seconds=[-962027840, -962027816, -962027805, -962027778, -962027777, -962027776], now=711090274, a_call=5
)
@example(seconds=[-906124406, 945005656, 1358750324, 1471426419, 2371161925], now=8740219047, a_call=1)
def test_names_come_the_latest_first_whatever_the_times_and_the_clock(
    seconds: list[int], now: int, a_call: int
) -> None:
    s3 = Impatient(keys_a_call=a_call)
    names = {f"{stamp(BEGAN + dt.timedelta(seconds=each))}-{number}" for number, each in enumerate(seconds)}
    s3.objects = {f"p/{name}/started.json": (b"", BEGAN) for name in names}

    found = list(AttemptNames(s3, "state", now=lambda: BEGAN + dt.timedelta(seconds=now)).latest_first("p/"))

    assert found == sorted(names, reverse=True)


@given(body=bodies(HOLDER), age=some.sampled_from([0.0, LIFETIME - 1, LIFETIME + 1]))
@example(body=json.dumps({**HOLDER, "pid": 1 << 80}).encode(), age=0.0)
def test_a_lease_of_anything_keeps_others_out_until_it_is_old_and_no_longer(body: bytes, age: float) -> None:
    s3 = FakeS3()
    s3.objects[LEASE_KEY] = (body, s3.now)
    s3.now += dt.timedelta(seconds=age)

    lease_in(s3).holder()
    try:
        with lease_in(s3).held(LEE) as held:
            held.require()
            s3.objects[LEASE_KEY] = (body, s3.now)
            with pytest.raises(LeaseLostError) as lost:
                held.require()
            shown(f"{lost.value} {lost.value.hint}")
            del s3.objects[LEASE_KEY]
    except LeaseHeldError as error:
        shown(f"{error} {error.hint}")
        assert age <= LIFETIME


BACKEND = Backend(
    file=Path("backend.hcl"), bucket="states", key="k", region="ap-northeast-2", allowed_account_ids=()
)


def bucket(body: bytes) -> Any:
    s3 = FakeS3()
    s3.objects = {"k": (body, s3.now), "k.tflock": (body, s3.now)}
    return SimpleNamespace(s3=s3, s3_in=lambda _region: s3)


@given(body=bodies(STATE, LOCK))
def test_a_state_of_anything_is_read_or_named(body: bytes) -> None:
    try:
        found = read(bucket(body), BACKEND, environment="dev")
    except DamagedObjectError as error:
        shown(f"{error} {error.hint}")
        return
    assert not found.sensitive - found.outputs.keys()
    shown(json.dumps(dict(found.shown), ensure_ascii=False))
    try:
        verify.Outputs.parse(found.outputs)
    except VerificationError as error:
        shown(str(error))
    book = Book()
    ledger_of(book.session).begin(record().begun)
    shown(str(image_in_force(book.session, found)))


@given(body=bodies(LOCK))
def test_a_lock_of_anything_is_read_or_named(body: bytes) -> None:
    try:
        found = lock(bucket(body), BACKEND)
    except DamagedObjectError as error:
        shown(f"{error} {error.hint}")
    else:
        assert isinstance(found, str)
        shown(found)

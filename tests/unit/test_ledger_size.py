"""A ledger of ten thousand attempts is read by a bounded number of calls, and the oldest of them is still found."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, cast

import pytest

from mclass_tf.attempt_names import AttemptNames, stamp, time_of
from mclass_tf.environment import PromotionSettings
from mclass_tf.errors import ReleaseMissingError
from mclass_tf.flows import proof
from mclass_tf.flows.attempt import attempts_on, ledger_of, new_record, revision_of
from mclass_tf.flows.history import history, unfinished_attempt
from mclass_tf.flows.release import require_not_worse
from mclass_tf.flows.resume import resumable_attempt
from mclass_tf.flows.rollback import _named, _previous
from mclass_tf.ledger import LOOKED_BACK, AttemptEnd, Ledger
from mclass_tf.session import Session
from tests.unit.fake_s3 import FakeS3
from tests.unit.fake_service import BEGAN, NEW
from tests.unit.flows.test_resume import Book, record
from tests.unit.flows.test_rollback import going

COUNT = 10_000
PREFIX = "releases/dev/"
# Listing; started and ended of each attempt that is looked at.
MOST_LISTED = 20
MOST_READ = 2 * LOOKED_BACK + MOST_LISTED
MOST_READ_OF_AN_IMAGE = 4 * LOOKED_BACK + MOST_LISTED


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def revision(number: int) -> str:
    return f"arn:aws:ecs:ap-northeast-2:111111111111:task-definition/mclass-task:{number}"


def name(number: int) -> str:
    """Return the name of an attempt; some come within minutes, others days after the one before."""
    minutes = number * 7 + (number // 50) ** 2
    return f"{stamp(BEGAN + dt.timedelta(minutes=minutes))}-{number:08x}"


def objects(*, is_indexed: bool) -> dict[str, tuple[bytes, dt.datetime]]:
    """Return a bucket's objects: attempts that were each released and proven, without an index as earlier versions wrote them."""
    found: dict[str, tuple[bytes, dt.datetime]] = {}
    released = cast("AttemptEnd", record(outcome="released").ended)
    started = json.dumps(asdict(replace(record().begun, digest="DIGEST", revision="commit-NUMBER")))
    ended = json.dumps(asdict(replace(released, task_definition_arn="REVISION", is_verified=True)))
    for number in range(COUNT):
        folder = f"{PREFIX}{name(number)}/"
        first = started.replace("DIGEST", digest(number)).replace("NUMBER", str(number))
        found[f"{folder}started.json"] = (first.encode(), BEGAN)
        found[f"{folder}ended.json"] = (ended.replace("REVISION", revision(number)).encode(), BEGAN)
        if is_indexed:
            entry = f"{PREFIX}by-image/{digest(number).replace(':', '-')}/{name(number)}"
            found[entry] = (b"", BEGAN)
    return found


@pytest.fixture(scope="module")
def indexed() -> dict[str, tuple[bytes, dt.datetime]]:
    return objects(is_indexed=True)


@pytest.fixture
def book(indexed: dict[str, tuple[bytes, dt.datetime]]) -> Book:
    s3 = FakeS3()
    s3.objects = dict(indexed)
    return Book(s3=s3)


def old(book: Book) -> Book:
    """Take the index away: as if an earlier version had written all."""
    book.s3.objects = {key: value for key, value in book.s3.objects.items() if "/by-image/" not in key}
    return book


def promoted(session: Session) -> object:
    records = ledger_of(session).latest_first(most=proof._LOOKED_BACK)
    return proof.require_proven(
        records,
        digest=digest(COUNT - 1),
        environment="dev",
        settings=PromotionSettings(),
        now=BEGAN + dt.timedelta(days=36500),
    )


def resumed(session: Session) -> None:
    with pytest.raises(ReleaseMissingError):
        resumable_attempt(ledger_of(session).latest_first(most=LOOKED_BACK), environment="dev")


READERS: dict[str, Callable[[Book], object]] = {
    "history": lambda book: history(book.session, limit=20),
    "status": lambda book: unfinished_attempt(book.session),
    "promote": lambda book: promoted(book.session),
    "promote to there": lambda book: proof.require_not_withdrawn(book.session, digest=digest(COUNT - 1)),
    "rollback": lambda book: _previous(going(book), going(book).service()),
    "rollback in mid-release": lambda book: list(attempts_on(book.session, "arn")),
    "release": lambda book: require_not_worse(going(book), NEW),
    "resume": lambda book: resumed(book.session),
}


@pytest.mark.parametrize("command", READERS)
def test_a_command_reads_of_ten_thousand_attempts_the_latest_alone(book: Book, command: str) -> None:
    READERS[command](book)

    assert book.s3.calls["ListObjectsV2"] <= MOST_LISTED
    assert book.s3.calls.total() <= (4 if "promote" in command else 1) * MOST_READ


@pytest.mark.parametrize("number", [0, COUNT // 2, COUNT - LOOKED_BACK - 1, COUNT - 1])
def test_a_rollback_by_digest_finds_any_of_ten_thousand_releases(book: Book, number: int) -> None:
    goal = _named(going(book), digest(number))

    assert goal.task_definition_arn == revision(number)
    assert book.s3.calls.total() <= MOST_READ_OF_AN_IMAGE
    assert book.lines == []


@pytest.mark.parametrize("number", [0, COUNT // 2, COUNT - 1])
def test_the_revision_of_an_image_is_known_from_any_of_ten_thousand_releases(book: Book, number: int) -> None:
    assert revision_of(book.session, digest(number)) == f"commit-{number}"
    assert book.s3.calls.total() <= MOST_READ_OF_AN_IMAGE


def test_what_an_earlier_version_wrote_without_an_index_is_found_among_the_latest(book: Book) -> None:
    goal = _named(going(old(book)), digest(COUNT - LOOKED_BACK))

    assert goal.task_definition_arn == revision(COUNT - LOOKED_BACK)


def test_where_not_all_was_looked_at_that_is_reported_with_another_way(book: Book) -> None:
    with pytest.raises(ReleaseMissingError) as caught:
        _named(going(old(book)), digest(0))

    assert book.s3.calls.total() <= MOST_READ_OF_AN_IMAGE
    (line,) = book.lines
    since = time_of(name(COUNT - LOOKED_BACK))
    assert f"{digest(0)} was looked for among the latest {LOOKED_BACK} attempts, since {since}" in line
    assert "`rollback dev --to TASK_DEFINITION` names any revision" in caught.value.hint


def test_where_all_was_looked_at_nothing_is_reported() -> None:
    book = Book()
    ledger_of(book.session).begin(record().begun)

    with pytest.raises(ReleaseMissingError):
        _named(going(book), digest(0))
    assert book.lines == []


def ledger(book: Book) -> Ledger:
    return ledger_of(book.session)


def test_the_records_are_the_truth_where_the_index_says_something_else(book: Book) -> None:
    """An entry of an attempt that was never there, one of another image, one that is no name, and content that means nothing."""
    entries = f"{PREFIX}by-image/{digest(1).replace(':', '-')}/"
    for entry in ("20260101T000000.000Z-00000000", name(7), "0/../../..", "9", "x"):
        book.s3.objects[entries + entry] = (b"\xff{}", BEGAN)

    assert [each.begun.digest for each in ledger(book).of_image(digest(1))] == [digest(1)]


def test_an_index_that_was_lost_hides_nothing_of_the_latest(book: Book) -> None:
    newest = COUNT - 1
    book.s3.objects[f"{PREFIX}by-image/{digest(newest).replace(':', '-')}/{name(3)}"] = (b"", BEGAN)
    del book.s3.objects[f"{PREFIX}by-image/{digest(newest).replace(':', '-')}/{name(newest)}"]

    assert [each.name for each in ledger(book).of_image(digest(newest))] == [name(newest)]


def test_an_index_that_takes_no_entry_stops_no_release() -> None:
    book = Book()
    book.s3.refuses = lambda key: "/by-image/" in key

    written = ledger(book).begin(record().begun)

    assert [each.name for each in ledger(book).latest_first(most=1)] == [written]
    (line,) = book.lines
    assert "index of images could not be written" in line


def test_damaged_attempts_are_counted_too(book: Book) -> None:
    for key in book.s3.objects:
        book.s3.objects[key] = (b"<html>", BEGAN)

    assert unfinished_attempt(book.session) is None
    assert book.s3.calls.total() <= MOST_READ


def test_an_attempt_of_endless_steps_is_unreadable() -> None:
    book = Book()
    url = book.cut_off()
    step = json.dumps({"what": "BAKE_TIME", "at": BEGAN.isoformat(), "details": {}}).encode()
    for number in range(1, 2000):
        book.s3.objects[f"{url.removeprefix('s3://state/')}step-{number:02d}.json"] = (step, BEGAN)

    assert list(ledger(book).latest_first(most=1)) == []
    assert "more than 1000 steps" in book.lines[0]


def names_of(keys: dict[str, Any], *, now: dt.datetime = BEGAN) -> tuple[list[str], int]:
    s3 = FakeS3()
    s3.objects = keys
    found = list(AttemptNames(s3, "state", now=lambda: now).latest_first(PREFIX))
    return found, s3.calls["ListObjectsV2"]


@pytest.mark.parametrize(
    "now",
    [
        dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        BEGAN,
        BEGAN + dt.timedelta(minutes=3),
        dt.datetime(9999, 12, 31, tzinfo=dt.UTC),
    ],
)
@pytest.mark.parametrize("spread", ["seconds", "days", "years", "one moment"])
def test_all_names_come_the_latest_first_whatever_the_clock_says(now: dt.datetime, spread: str) -> None:
    unit = {
        "seconds": dt.timedelta(seconds=1),
        "days": dt.timedelta(days=1),
        "years": dt.timedelta(days=366),
        "one moment": dt.timedelta(),
    }[spread]
    chosen = random.Random(7)
    count = 2500 if spread != "years" else 200
    expected = sorted(f"{stamp(BEGAN + unit * each)}-{chosen.randbytes(4).hex()}" for each in range(count))
    keys = {f"{PREFIX}{each}/started.json": (b"", BEGAN) for each in expected}
    keys[f"{PREFIX}by-image/x/y"] = (b"", BEGAN)

    found, calls = names_of(keys, now=now)

    assert found == expected[::-1]
    assert calls < 150


def test_the_latest_of_many_names_takes_few_calls_also_by_a_clock_that_is_wrong(
    indexed: dict[str, tuple[bytes, dt.datetime]],
) -> None:
    for years in (-20, -1, 0, 1, 20):
        s3 = FakeS3()
        s3.objects = indexed
        wrong = BEGAN + dt.timedelta(days=365 * years)
        assert next(AttemptNames(s3, "state", now=lambda: wrong).latest_first(PREFIX)) == name(COUNT - 1)  # noqa: B023  (called at once)
        assert s3.calls["ListObjectsV2"] <= 2 * MOST_LISTED


def test_a_revision_is_looked_for_once_an_attempt_begins(book: Book) -> None:
    fake = cast("Any", book.session)
    fake.aws.__dict__["sts"] = type("Sts", (), {"get_caller_identity": lambda _: {"Arn": "kim"}})()
    fake.env = {}
    fake.project.folder = fake.project.home

    found = new_record(fake, command="release", digest=digest(5))

    assert found.revision == "commit-5"
    assert book.s3.calls.total() <= MOST_READ_OF_AN_IMAGE

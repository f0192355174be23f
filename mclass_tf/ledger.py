"""The ledger: what was released, by whom, from what, and what came of it; beside the state, never changed.

An attempt is a folder, `<folder of the state's key>/releases/<environment>/<UTC time>-<id>/`, of objects that are written
once each: `started.json` before anything is done, `step-01.json`, `step-02.json`, … as each step is reached, `ended.json`
when it is known what came of it. An attempt without an `ended.json` was cut off, or is under way; its last step says where.

`by-image/<digest>/<UTC time>-<id>` beside them is the index of images: objects without content, whose names are those of the
attempts on an image. It only says where to look; the attempts say what is true, also where it is lost or somebody else's.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

import msgspec

from mclass_tf import attempt_names, stored
from mclass_tf.attempt_names import Names
from mclass_tf.aws import Aws, error_code, error_message
from mclass_tf.environment import Backend
from mclass_tf.errors import DamagedObjectError, Hint, LedgerError

VERSION = 1
LOOKED_BACK = 50
"""Attempts that are looked through for one of an image; the repository keeps no more releases than that."""
_AT_ONCE = 8  # attempts that are read side by side; a client keeps ten connections
_MOST_STEPS = 1000  # of an attempt: the longest rollout has some dozens
_DIGEST = re.compile(r"[a-z0-9]+:[0-9a-f]+")

# The steps of an attempt, in their order. Between ROLLING_OUT and VERIFYING come ECS's own stages, by ECS's names.
PLANNING = "planning"
PLANNED = "planned"
APPLYING = "applying"
BEFORE = "before"
ROLLING_OUT = "rolling out"
VERIFYING = "verifying"
_HARMLESS = frozenset({PLANNING, PLANNED})

CUT_OFF, REFUSED = "cut off", "refused"
"""Outcomes: of an attempt that another one has taken up; of one that was refused, or not approved, before it changed anything."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """What one gate said of the plan."""

    gate: str
    passed: bool
    checked: int
    waived: int


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a promotion took its image from: the environment, and the record (s3://…) that proves it there."""

    environment: str
    record: str


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What is known of an attempt before it changes anything. `command` is "release", "rollback" or "promote".

    `digest` is the image's, `revision` the source's that it was built from, `commit` that of the project; "" where
    unknown. `plan_sha256` and `gates` are what the step PLANNED says, empty where there was no plan. `promoted_from` is a
    promotion's alone. `resumes` is the record (s3://…) of the attempt that this one goes on with, "" where there is none.
    `pause_at` are ECS's stages at which the rollout was to wait for its user.
    """

    command: str
    environment: str
    who: str
    at: str
    commit: str
    digest: str
    revision: str
    strategy: str
    state_serial: int
    plan_sha256: str = ""
    gates: tuple[GateVerdict, ...] = ()
    promoted_from: Origin | None = None
    resumes: str = ""
    pause_at: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_time(self.at)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step that an attempt has come to. `details` are of JSON's types, and differ from step to step."""

    what: str
    at: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Event:
    at: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Smoke:
    """One path that the new version was asked for before it got traffic; `problem` is "" where it answered well."""

    path: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage that the rollout came to; `production` is the new version's per cent of that traffic, None where unknown."""

    name: str
    at: str
    production: float | None = None


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What the load balancer counted of one version: requests, 5xx among them, and its 99th percentile in seconds."""

    requests: int
    errors: int
    p99: float | None = None


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What the load balancer counted while a rollout went on: requests that came to a target, and 5xx of its own or of targets."""

    requests: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What came of comparing the versions under traffic. `verdict` is "passed", "failed" or "inconclusive"."""

    verdict: str
    reason: str
    new: Answered
    old: Answered


@dataclass(frozen=True, kw_only=True)
class OneOff:
    """A command that ran in the new version before the rollout; `exit_code` None where it did not come to run."""

    command: str
    task_arn: str
    exit_code: int | None


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What came of an attempt. `is_verified`: the revision served, and every check of the environment passed.

    `smoke` is what was asked on the test listener, empty where nothing was; `analysis` None where nothing was compared, `traffic`
    None where nothing was rolled out, or CloudWatch did not tell.
    """

    at: str
    outcome: str
    cause: str
    task_definition_arn: str
    service_deployment_arn: str
    is_verified: bool
    state_serial: int
    events: tuple[Event, ...] = ()
    smoke: tuple[Smoke, ...] = ()
    before: tuple[OneOff, ...] = ()
    stages: tuple[Stage, ...] = ()
    analysis: Compared | None = None
    traffic: Traffic | None = None
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _require_time(self.at)


def _require_time(text: str) -> None:
    if dt.datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """An attempt of which an object is damaged, or was written by something else. `at` is when S3 got it."""

    name: str
    at: dt.datetime
    url: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One attempt as the ledger has it; `ended` None: cut off, or under way. Of old records no steps are known."""

    name: str
    begun: Begun
    ended: Ended | None
    steps: tuple[Step, ...] = ()

    @property
    def at_step(self) -> str:
        """Return the last step that it came to, "" where none is known."""
        return self.steps[-1].what if self.steps else ""

    @property
    def is_harmless(self) -> bool:
        """Return whether it has come to its end, for sure, before it changed anything."""
        return self.is_over and bool(self.steps) and all(step.what in _HARMLESS for step in self.steps)

    @property
    def is_over(self) -> bool:
        """Return whether it has come to its own end; where another one goes on with it, it has not."""
        return self.ended is not None and self.ended.outcome != CUT_OFF

    @property
    def ran(self) -> tuple[OneOff, ...]:
        """Return the commands before the rollout that have run, and how."""
        details = (step.details for step in self.steps if step.what == BEFORE)
        return tuple(msgspec.convert(each, OneOff) for each in details)

    def last(self, what: str) -> Step | None:
        """Return the step `what` that it came to last."""
        return next((step for step in reversed(self.steps) if step.what == what), None)

    @property
    def service_deployment_arn(self) -> str:
        """Return the last service deployment that it has started or taken up, "" where there was none."""
        step = self.last(ROLLING_OUT)
        arn = str(step.details.get("service_deployment", "")) if step else ""
        return arn or (self.ended.service_deployment_arn if self.ended else "")

    @property
    def is_proven(self) -> bool:
        return self.ended is not None and self.ended.is_verified


class Ledger:
    """The attempts on one environment, in its state bucket. `report` is told once of each that cannot be read."""

    def __init__(
        self,
        aws: Aws,
        backend: Backend,
        *,
        environment: str,
        report: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._s3 = aws.s3
        self._names = Names(aws.s3, backend.bucket, now=aws.now)
        self._report = report
        self._bucket = backend.bucket
        folder = backend.key.rpartition("/")[0]
        self._prefix = "/".join(filter(None, [folder, "releases", environment])) + "/"

    def begin(self, begun: Begun) -> str:
        """Write that an attempt begins; return its name."""
        name = f"{attempt_names.stamp(dt.datetime.fromisoformat(begun.at))}-{secrets.token_hex(4)}"
        self._write(name, "started", asdict(begun))
        self._index(name, begun.digest)
        return name

    def step(self, name: str, number: int, step: Step) -> None:
        """Write the step of that number, from 1."""
        self._write(name, f"step-{number:02d}", asdict(step))

    def end(self, name: str, ended: Ended) -> None:
        """Write what came of an attempt."""
        self._write(name, "ended", asdict(ended))

    def url(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{name}/"

    def read(self, url: str) -> Record:
        """Return the attempt of that URL; raise LedgerError where there is none, DamagedObjectError where it cannot be read."""
        name = url.rstrip("/").rpartition("/")[2]
        record = self._record(name) if self.url(name) == url else None
        if record is None:
            raise LedgerError(f"the ledger has no {url}", hint=Hint(("history", "ENV"), " tells what it has"))
        return record

    def latest_first(self, *, most: int) -> Iterator[Record]:
        """Yield of the latest `most` attempts those that can be read; the others are reported, and prove nothing."""
        return self._readable(self.all_latest_first(most=most))

    def all_latest_first(self, *, most: int) -> Iterator[Record | Unreadable]:
        """Yield the latest `most` attempts; the latest is read when it is asked for, those before it a few at a time."""
        return self._read_all(islice(self._names.latest_first(self._prefix), most))

    def of_image(self, digest: str) -> Iterator[Record]:
        """Yield attempts on an image, the latest first: among the latest `LOOKED_BACK` of all, and as many that the index names.

        Where that may not have been all, and all of it was looked at, it is reported.
        """
        every = self._names.latest_first(self._prefix)
        latest = list(islice(every, LOOKED_BACK))
        yield from self._of(digest, latest)
        if next(every, None) is None:
            return
        before = (name for name in self._indexed(digest) if name < latest[-1])
        yield from self._of(digest, islice(before, LOOKED_BACK))
        since = attempt_names.time_of(latest[-1])
        self._report(
            f"{digest} was looked for among the latest {LOOKED_BACK} attempts, since {since}; "
            "of those before them only the ones that the ledger's index of images names"
        )

    def _of(self, digest: str, names: Iterable[str]) -> Iterator[Record]:
        return (record for record in self._readable(self._read_all(names)) if record.begun.digest == digest)

    def _indexed(self, digest: str) -> Iterator[str]:
        return self._names.latest_first(self._image_prefix(digest)) if _DIGEST.fullmatch(digest) else iter(())

    def _image_prefix(self, digest: str) -> str:
        return f"{self._prefix}by-image/{digest.replace(':', '-')}/"

    def _index(self, name: str, digest: str) -> None:
        """Enter an attempt into the index of images; a failure to do so stops no release."""
        if not _DIGEST.fullmatch(digest):
            return
        key = self._image_prefix(digest) + name
        try:
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=b"", ContentType="text/plain")
        except Exception as error:  # noqa: BLE001  (the attempt is written, and its release matters more)
            self._report(
                f"the ledger's index of images could not be written: {error_message(error)}; once {LOOKED_BACK} "
                f"attempts have followed, `rollback --to {digest}` does not see this one"
            )

    def _readable(self, attempts: Iterable[Record | Unreadable]) -> Iterator[Record]:
        for each in attempts:
            if isinstance(each, Record):
                yield each
            else:
                self._report(f"an attempt is left out: {each.url} cannot be read: {each.reason}")

    def _read_all(self, names: Iterable[str]) -> Iterator[Record | Unreadable]:
        names, at_once = iter(names), 1
        while batch := list(islice(names, at_once)):
            # Whoever looks far back would wait for the network a hundred times.
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ledger") as pool:
                records = list(pool.map(self._attempt, batch))
            yield from (record for record in records if record is not None)
            at_once = _AT_ONCE

    def _attempt(self, name: str) -> Record | Unreadable | None:
        try:
            return self._record(name)
        except DamagedObjectError as error:
            key = error.url.removeprefix(f"s3://{self._bucket}/")
            at = self._s3.head_object(Bucket=self._bucket, Key=key)["LastModified"]
            return Unreadable(name=name, at=at, url=error.url, reason=error.reason)

    def _record(self, name: str) -> Record | None:
        """Return an attempt, None where there is none; raise DamagedObjectError where one of its objects cannot be read."""
        begun, ended = self._read(name, "started", Begun), self._read(name, "ended", Ended)
        if begun is None:
            return None
        steps = tuple(self._steps(name)) if ended is None else ended.steps
        record = Record(name=name, begun=begun, ended=ended, steps=steps)
        planned = record.last(PLANNED)
        try:  # what a step's details must be is known where they are looked into
            _ = record.ran
            return record if planned is None else replace(record, begun=_planned(begun, planned))
        except ValueError as error:
            raise DamagedObjectError(f"{self.url(name)}started.json", f"its steps: {error}") from None

    def _steps(self, name: str) -> Iterator[Step]:
        """Yield the steps that were written, in their order; there are no gaps."""
        for number in range(1, _MOST_STEPS + 1):
            step = self._read(name, f"step-{number:02d}", Step)
            if step is None:
                return
            yield step
        raise DamagedObjectError(f"{self.url(name)}started.json", f"it has more than {_MOST_STEPS} steps")

    def _write(self, name: str, what: str, document: Mapping[str, Any]) -> None:
        """Write an object that nobody has written yet: what the ledger says stays said. Raise LedgerError where it cannot be.

        Once more what was written already is no error: an answer may get lost, and what the client then repeats by itself
        is refused for being there.
        """
        key = f"{self._prefix}{name}/{what}.json"
        body = json.dumps({"version": VERSION, **document}, indent=2, ensure_ascii=False).encode()
        try:
            self._s3.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"
            )
        except self._s3.exceptions.ClientError as error:
            if self._has(name, what, json.loads(body)):
                return
            if error_code(error) in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise LedgerError(
                    f"the ledger has s3://{self._bucket}/{key} already",
                    hint="nothing that was written is changed",
                ) from None
            raise LedgerError(
                f"the ledger could not be written: {error}",
                hint=f"the credentials need s3:PutObject on s3://{self._bucket}/{self._prefix}",
            ) from None

    def _has(self, name: str, what: str, document: Mapping[str, Any]) -> bool:
        """Return whether that very document is there; where it cannot be read, why it was not written matters more."""
        try:
            return bool(self._read(name, what, dict[str, Any]) == document)
        except (self._s3.exceptions.ClientError, DamagedObjectError):
            return False

    def _read(self, name: str, what: str, kind: type[T]) -> T | None:
        url = f"{self.url(name)}{what}.json"
        try:
            response = self._s3.get_object(Bucket=self._bucket, Key=f"{self._prefix}{name}/{what}.json")
        except self._s3.exceptions.NoSuchKey:
            return None
        return stored.parsed(stored.body(response, url=url), kind, url=url)


def proven_releases(records: Sequence[Record]) -> list[Record]:
    """Return, of `records` with the oldest first, the proven releases in force, the last of them on top.

    A rollback takes back what was released since the release that it returns to: rolling back twice goes back twice,
    and never forward to what was withdrawn.
    """
    stack: list[Record] = []
    for record in records:
        if not record.is_proven or record.ended is None:
            continue
        arn = record.ended.task_definition_arn
        if record.begun.command in ("rollback", "abort"):
            known = [
                n for n, each in enumerate(stack) if each.ended and each.ended.task_definition_arn == arn
            ]
            del stack[known[-1] if known else len(stack) :]
        elif stack and stack[-1].ended and stack[-1].ended.task_definition_arn == arn:
            stack.pop()  # proven once more
        stack.append(record)
    return stack


def _planned(begun: Begun, step: Step) -> Begun:
    """Return what is known of an attempt once it has planned."""
    return replace(
        begun,
        plan_sha256=str(step.details.get("plan_sha256", "")),
        gates=msgspec.convert(step.details.get("gates", ()), tuple[GateVerdict, ...]),
    )

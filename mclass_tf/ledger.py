"""The ledger: an immutable record of each attempt, beside the state.

An attempt is a folder `<folder of the state's key>/releases/<environment>/<UTC time>-<id>/`. Each of its objects is written
once: `started.json` before the first change, `step-01.json`, `step-02.json`, … as the attempt reaches each step, and
`ended.json` with the outcome. An attempt without `ended.json` was cut off or is under way; its last step says where.

The index of images, `by-image/<digest>/<UTC time>-<id>`, consists of empty objects named like the attempts on an image. It is
only a hint where to look. The attempts are authoritative, even if the index is lost or forged.
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
from mclass_tf.attempt_names import AttemptNames
from mclass_tf.aws import Aws, error_code, error_message
from mclass_tf.environment import Backend
from mclass_tf.errors import DamagedObjectError, Hint, LedgerError

VERSION = 1
LOOKED_BACK = 50
"""How many attempts are searched for an image or a proven release."""
_AT_ONCE = 8  # attempts read concurrently; a boto3 client has a pool of ten connections
_MOST_STEPS = 1000  # the longest rollout has some dozens
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
"""Outcomes of an attempt that another one resumed, and of one that was refused or not approved before it changed anything."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """The verdict of one gate on the plan."""

    gate: str
    passed: bool
    checked: int
    waived: int


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The source of a promotion: an environment, and the record (s3://…) that proves the image there."""

    environment: str
    record: str


@dataclass(frozen=True, kw_only=True)
class AttemptStart:
    """What is known of an attempt before it changes anything. `command` is "release", "rollback" or "promote".

    `digest` is the image's, `revision` the image's git revision, `commit` the project's; "" if unknown. `plan_sha256` and
    `gates` come from the step PLANNED and are empty without a plan. Only a promotion has `promoted_from`. `resumes` is the
    record (s3://…) of the attempt that this one resumes, or "". `pause_at` are the stages at which the rollout pauses.
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
class SmokeResult:
    """The smoke test of one path. `problem` is "" if the new version answered well."""

    path: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage that the rollout reached. `production` is the new version's percentage of that traffic, None if unknown."""

    name: str
    at: str
    production: float | None = None


@dataclass(frozen=True, kw_only=True)
class VersionCounts:
    """The load balancer's metrics of one version: requests, 5xx responses, and 99th percentile of latency in seconds."""

    requests: int
    errors: int
    p99: float | None = None


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """The load balancer's metrics during a rollout: requests that reached a target, and 5xx responses, its own or a target's."""

    requests: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class AnalysisResult:
    """The result of an analysis. `verdict` is "passed", "failed" or "inconclusive"."""

    verdict: str
    reason: str
    new: VersionCounts
    old: VersionCounts


@dataclass(frozen=True, kw_only=True)
class OneOffResult:
    """A command that ran in the new version before the rollout. `exit_code` is None if it never started."""

    command: str
    task_arn: str
    exit_code: int | None


@dataclass(frozen=True, kw_only=True)
class AttemptEnd:
    """How an attempt ended. `is_verified`: the image served, and every check of `verify` passed.

    `smoke` is empty without a smoke test, and `analysis` is None without an analysis. `traffic` is None without a rollout, or
    if CloudWatch had no figures.
    """

    at: str
    outcome: str
    cause: str
    task_definition_arn: str
    service_deployment_arn: str
    is_verified: bool
    state_serial: int
    events: tuple[Event, ...] = ()
    smoke: tuple[SmokeResult, ...] = ()
    before: tuple[OneOffResult, ...] = ()
    stages: tuple[Stage, ...] = ()
    analysis: AnalysisResult | None = None
    traffic: Traffic | None = None
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _require_time(self.at)


def _require_time(text: str) -> None:
    if dt.datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")


@dataclass(frozen=True, kw_only=True)
class UnreadableRecord:
    """An attempt with an object that is damaged or foreign. `at` is S3's time of that object."""

    name: str
    at: dt.datetime
    url: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One attempt. `ended` is None if it was cut off or is under way. Old records have no steps."""

    name: str
    begun: AttemptStart
    ended: AttemptEnd | None
    steps: tuple[Step, ...] = ()

    @property
    def at_step(self) -> str:
        """Return the last step that the attempt reached, "" if unknown."""
        return self.steps[-1].what if self.steps else ""

    @property
    def is_harmless(self) -> bool:
        """Return whether the attempt certainly ended before it changed anything."""
        return self.is_over and bool(self.steps) and all(step.what in _HARMLESS for step in self.steps)

    @property
    def is_over(self) -> bool:
        """Return whether the attempt has ended; one that another attempt resumed has not."""
        return self.ended is not None and self.ended.outcome != CUT_OFF

    @property
    def ran(self) -> tuple[OneOffResult, ...]:
        """Return the commands that ran before the rollout, with their exit codes."""
        details = (step.details for step in self.steps if step.what == BEFORE)
        return tuple(msgspec.convert(each, OneOffResult) for each in details)

    def last(self, what: str) -> Step | None:
        """Return the last step of the kind `what`."""
        return next((step for step in reversed(self.steps) if step.what == what), None)

    @property
    def service_deployment_arn(self) -> str:
        """Return the last service deployment that the attempt started or adopted, or ""."""
        step = self.last(ROLLING_OUT)
        arn = str(step.details.get("service_deployment", "")) if step else ""
        return arn or (self.ended.service_deployment_arn if self.ended else "")

    @property
    def is_proven(self) -> bool:
        return self.ended is not None and self.ended.is_verified


class Ledger:
    """The attempts on one environment, in its state bucket. `report` gets one line for each attempt that cannot be read."""

    def __init__(
        self,
        aws: Aws,
        backend: Backend,
        *,
        environment: str,
        report: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._s3 = aws.s3_in(backend.region)
        self._names = AttemptNames(self._s3, backend.bucket, now=aws.now)
        self._report = report
        self._bucket = backend.bucket
        folder = backend.key.rpartition("/")[0]
        self._prefix = "/".join(filter(None, [folder, "releases", environment])) + "/"

    def begin(self, begun: AttemptStart) -> str:
        """Record the start of an attempt; return its name."""
        name = f"{attempt_names.stamp(dt.datetime.fromisoformat(begun.at))}-{secrets.token_hex(4)}"
        self._write(name, "started", asdict(begun))
        self._index(name, begun.digest)
        return name

    def step(self, name: str, number: int, step: Step) -> None:
        """Record a step; `number` counts from 1."""
        self._write(name, f"step-{number:02d}", asdict(step))

    def end(self, name: str, ended: AttemptEnd) -> None:
        """Record the end of an attempt."""
        self._write(name, "ended", asdict(ended))

    def url(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{name}/"

    def read(self, url: str) -> Record:
        """Return the attempt at `url`; raise LedgerError if there is none, DamagedObjectError if it cannot be read."""
        name = url.rstrip("/").rpartition("/")[2]
        record = self._record(name) if self.url(name) == url else None
        if record is None:
            raise LedgerError(f"the ledger has no {url}", hint=Hint(("history", "ENV"), " tells what it has"))
        return record

    def latest_first(self, *, most: int) -> Iterator[Record]:
        """Yield the readable ones of the latest `most` attempts. The others are reported, and prove nothing."""
        return self._readable(self.all_latest_first(most=most))

    def all_latest_first(self, *, most: int) -> Iterator[Record | UnreadableRecord]:
        """Yield the latest `most` attempts. The first is read alone, the others in batches, each when it is needed."""
        return self._read_all(islice(self._names.latest_first(self._prefix), most))

    def of_image(self, digest: str) -> Iterator[Record]:
        """Yield attempts on an image, latest first, from the latest `LOOKED_BACK` of all and as many from the index.

        Report it if the caller consumed all of them and there may be more.
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
        """Add an attempt to the index of images; a failure is only reported."""
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

    def _readable(self, attempts: Iterable[Record | UnreadableRecord]) -> Iterator[Record]:
        for each in attempts:
            if isinstance(each, Record):
                yield each
            else:
                self._report(f"an attempt is left out: {each.url} cannot be read: {each.reason}")

    def _read_all(self, names: Iterable[str]) -> Iterator[Record | UnreadableRecord]:
        names, at_once = iter(names), 1
        while batch := list(islice(names, at_once)):
            # One by one, a long search would wait for the network a hundred times.
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ledger") as pool:
                records = list(pool.map(self._attempt, batch))
            yield from (record for record in records if record is not None)
            at_once = _AT_ONCE

    def _attempt(self, name: str) -> Record | UnreadableRecord | None:
        try:
            return self._record(name)
        except DamagedObjectError as error:
            key = error.url.removeprefix(f"s3://{self._bucket}/")
            at = self._s3.head_object(Bucket=self._bucket, Key=key)["LastModified"]
            return UnreadableRecord(name=name, at=at, url=error.url, reason=error.reason)

    def _record(self, name: str) -> Record | None:
        """Return an attempt, None if it does not exist; raise DamagedObjectError if one of its objects cannot be read."""
        begun, ended = self._read(name, "started", AttemptStart), self._read(name, "ended", AttemptEnd)
        if begun is None:
            return None
        steps = tuple(self._steps(name)) if ended is None else ended.steps
        record = Record(name=name, begun=begun, ended=ended, steps=steps)
        planned = record.last(PLANNED)
        try:  # the details of a step are only checked by those who read them
            _ = record.ran
            return record if planned is None else replace(record, begun=_planned(begun, planned))
        except ValueError as error:
            raise DamagedObjectError(f"{self.url(name)}started.json", f"its steps: {error}") from None

    def _steps(self, name: str) -> Iterator[Step]:
        """Yield the recorded steps in order; their numbers have no gaps."""
        for number in range(1, _MOST_STEPS + 1):
            step = self._read(name, f"step-{number:02d}", Step)
            if step is None:
                return
            yield step
        raise DamagedObjectError(f"{self.url(name)}started.json", f"it has more than {_MOST_STEPS} steps")

    def _write(self, name: str, what: str, document: Mapping[str, Any]) -> None:
        """Write a new object, never over an existing one; raise LedgerError if that fails.

        It is no error if the same content exists: after a lost response the client retries, and S3 refuses the retry.
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
        """Return whether the object has this content; False if it cannot be read, since the write's own error matters more."""
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
    """Return the proven releases in force among `records` (oldest first) as a stack, the latest last.

    A rollback removes the releases after the one that it returns to. So a second rollback goes back further, never forward
    to a release that was rolled back.
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


def _planned(begun: AttemptStart, step: Step) -> AttemptStart:
    """Return `begun` with the details of its step PLANNED."""
    return replace(
        begun,
        plan_sha256=str(step.details.get("plan_sha256", "")),
        gates=msgspec.convert(step.details.get("gates", ()), tuple[GateVerdict, ...]),
    )

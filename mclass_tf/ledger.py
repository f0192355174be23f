"""The ledger: what was released, by whom, from what, and what came of it; beside the state, never changed.

An attempt is a folder, `<folder of the state's key>/releases/<environment>/<UTC time>-<id>/`, of objects that are written
once each: `started.json` before anything is changed, `ended.json` when it is known what came of it. An attempt without an
`ended.json` was cut off, or is under way.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from mclass_tf.aws import Aws, error_code
from mclass_tf.environment import Backend
from mclass_tf.errors import LedgerError

VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Verdict:
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
    unknown. `plan_sha256` and `gates` are empty where there was no plan. `promoted_from` is a promotion's alone.
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
    gates: tuple[Verdict, ...] = ()
    promoted_from: Origin | None = None


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

    `smoke` is what was asked on the test listener, empty where nothing was; `analysis` None where nothing was compared.
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


@dataclass(frozen=True, kw_only=True)
class Record:
    """One attempt as the ledger has it; `ended` None: cut off, or under way."""

    name: str
    begun: Begun
    ended: Ended | None

    @property
    def is_proven(self) -> bool:
        return self.ended is not None and self.ended.is_verified


class Ledger:
    """The attempts on one environment, in its state bucket."""

    def __init__(self, aws: Aws, backend: Backend, *, environment: str) -> None:
        self._s3 = aws.s3
        self._bucket = backend.bucket
        folder = backend.key.rpartition("/")[0]
        self._prefix = "/".join(filter(None, [folder, "releases", environment])) + "/"

    def begin(self, begun: Begun) -> str:
        """Write that an attempt begins; return its name."""
        at = dt.datetime.fromisoformat(begun.at).astimezone(dt.UTC)
        name = f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"
        self._write(name, "started", asdict(begun))
        return name

    def end(self, name: str, ended: Ended) -> None:
        self._write(name, "ended", asdict(ended))

    def url(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{name}/"

    def latest_first(self) -> Iterator[Record]:
        """Yield every attempt, each read when it is asked for."""
        for name in sorted(self._names(), reverse=True):
            begun = self._read(name, "started")
            if begun is None:
                continue
            ended = self._read(name, "ended")
            yield Record(name=name, begun=_begun(begun), ended=None if ended is None else _ended(ended))

    def _names(self) -> Iterator[str]:
        pages = self._s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"):
            for common in page.get("CommonPrefixes", ()):
                yield common["Prefix"].removeprefix(self._prefix).rstrip("/")

    def _write(self, name: str, what: str, document: Mapping[str, Any]) -> None:
        """Write an object that nobody has written yet: what the ledger says stays said."""
        key = f"{self._prefix}{name}/{what}.json"
        body = json.dumps({"version": VERSION, **document}, indent=2, ensure_ascii=False).encode()
        try:
            self._s3.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"
            )
        except self._s3.exceptions.ClientError as error:
            if error_code(error) in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise LedgerError(
                    f"the ledger has s3://{self._bucket}/{key} already",
                    hint="nothing that was written is changed",
                ) from None
            raise LedgerError(
                f"the ledger could not be written: {error}",
                hint=f"the credentials need s3:PutObject on s3://{self._bucket}/{self._prefix}",
            ) from None

    def _read(self, name: str, what: str) -> dict[str, Any] | None:
        try:
            found = self._s3.get_object(Bucket=self._bucket, Key=f"{self._prefix}{name}/{what}.json")
        except self._s3.exceptions.NoSuchKey:
            return None
        document: dict[str, Any] = json.loads(found["Body"].read())
        return document


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
        if record.begun.command == "rollback":
            known = [
                n for n, each in enumerate(stack) if each.ended and each.ended.task_definition_arn == arn
            ]
            del stack[known[-1] if known else len(stack) :]
        elif stack and stack[-1].ended and stack[-1].ended.task_definition_arn == arn:
            stack.pop()  # proven once more
        stack.append(record)
    return stack


def _begun(document: Mapping[str, Any]) -> Begun:
    origin = document.get("promoted_from")
    parts = {
        "gates": _each(Verdict, document.get("gates", ())),
        "promoted_from": origin and _parsed(Origin, origin),
    }
    return _parsed(Begun, {**document, **parts})


def _ended(document: Mapping[str, Any]) -> Ended:
    compared = document.get("analysis")
    parts = {
        "events": _each(Event, document.get("events", ())),
        "smoke": _each(Smoke, document.get("smoke", ())),
        "before": _each(OneOff, document.get("before", ())),
        "stages": _each(Stage, document.get("stages", ())),
        "analysis": compared and _compared(compared),
    }
    return _parsed(Ended, {**document, **parts})


def _compared(document: Mapping[str, Any]) -> Compared:
    sides = {name: _parsed(Answered, document[name]) for name in ("new", "old")}
    return _parsed(Compared, {**document, **sides})


def _each(kind: type[T], items: Iterable[Mapping[str, Any]]) -> tuple[T, ...]:
    return tuple(_parsed(kind, item) for item in items)


def _parsed(kind: type[T], document: Mapping[str, Any]) -> T:
    """Return a record of what this version knows; a later one may have written more."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # the kinds are dataclasses
    return kind(**{key: value for key, value in document.items() if key in known})

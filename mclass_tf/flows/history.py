"""`history`: lists the attempts in an environment and their outcomes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from mclass_tf.flows.attempt import lease_of, ledger_of
from mclass_tf.ledger import CUT_OFF, AnalysisResult, OneOffResult, Origin, Record, Traffic, UnreadableRecord
from mclass_tf.session import Session

UNDER_WAY, UNREADABLE = "under way", "unreadable"
UNFINISHED = (UNDER_WAY, CUT_OFF)
_KINDS = {"promote": "promotion"}
_LOOKED_BACK = 10  # attempts, to find a readable one


@dataclass(frozen=True, kw_only=True)
class PastAttempt:
    """One attempt. `seconds` is None if it has no end; then `outcome` is "under way" or "cut off", and `step` the last step.

    An "unreadable" attempt has only the time at which S3 stored it and, as `cause`, which object is damaged and how.

    `resumes` is the record of the attempt that this one resumed, `analysis` the comparison of the versions under traffic,
    `traffic` the requests meanwhile, `before` the commands that ran before the rollout.
    """

    at: dt.datetime
    kind: str
    digest: str
    revision: str
    outcome: str
    cause: str
    is_verified: bool
    who: str
    seconds: float | None
    task_definition_arn: str
    promoted_from: Origin | None
    record: str
    step: str = ""
    resumes: str = ""
    analysis: AnalysisResult | None = None
    traffic: Traffic | None = None
    before: tuple[OneOffResult, ...] = ()


def history(session: Session, *, limit: int) -> tuple[PastAttempt, ...]:
    """Return at most `limit` attempts, latest first, including unreadable ones."""
    ledger = ledger_of(session)
    records = tuple(ledger.all_latest_first(most=limit))
    return summarise(
        records, urls=[ledger.url(each.name) for each in records], is_held=_is_held(session, records)
    )


def unfinished_attempt(session: Session) -> PastAttempt | None:
    """Return the last readable attempt if it has no end: it is under way, or was cut off."""
    ledger = ledger_of(session)
    records = tuple(islice(ledger.latest_first(most=_LOOKED_BACK), 1))
    if not records:
        return None
    (last,) = summarise(records, urls=[ledger.url(records[0].name)], is_held=_is_held(session, records))
    return last if last.seconds is None and last.outcome in UNFINISHED else None


def _is_held(session: Session, records: Sequence[Record | UnreadableRecord]) -> bool:
    """Return whether a command holds the lease. Skip the request if the last attempt has ended."""
    may_be = bool(records) and isinstance(records[0], Record) and records[0].ended is None
    return may_be and lease_of(session).holder() is not None


def summarise(
    records: Sequence[Record | UnreadableRecord], *, urls: Sequence[str], is_held: bool
) -> tuple[PastAttempt, ...]:
    """Return the attempts of records. The latest is under way if it has no end and the lease is held; others are cut off."""
    return tuple(
        _past(record, url=url, unended=UNDER_WAY if number == 0 and is_held else CUT_OFF)
        if isinstance(record, Record)
        else _unreadable(record, url=url)
        for number, (record, url) in enumerate(zip(records, urls, strict=True))
    )


def _unreadable(record: UnreadableRecord, *, url: str) -> PastAttempt:
    return PastAttempt(
        at=record.at,
        kind="attempt",
        digest="",
        revision="",
        outcome=UNREADABLE,
        cause=f"{record.url} cannot be read: {record.reason}",
        is_verified=False,
        who="",
        seconds=None,
        task_definition_arn="",
        promoted_from=None,
        record=url,
    )


def _past(record: Record, *, url: str, unended: str) -> PastAttempt:
    begun, ended = record.begun, record.ended
    at = dt.datetime.fromisoformat(begun.at)
    outcome = ended.outcome if ended else unended
    return PastAttempt(
        at=at,
        kind=_KINDS.get(begun.command, begun.command),
        digest=begun.digest,
        revision=begun.revision,
        outcome=outcome,
        cause=ended.cause if ended else "",
        is_verified=record.is_proven,
        who=begun.who,
        seconds=(dt.datetime.fromisoformat(ended.at) - at).total_seconds()
        if ended and outcome != CUT_OFF
        else None,
        task_definition_arn=ended.task_definition_arn if ended else "",
        promoted_from=begun.promoted_from,
        record=url,
        step=record.at_step if outcome in UNFINISHED else "",
        resumes=begun.resumes,
        analysis=ended.analysis if ended else None,
        traffic=ended.traffic if ended else None,
        before=ended.before if ended and ended.before else record.ran,
    )

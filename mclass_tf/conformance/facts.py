"""The contents of a chapter in a form that does not depend on identities, numbers of tasks, or how often the recorder looked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from mclass_tf.conformance.anonymous import template
from mclass_tf.conformance.recording import (
    PRODUCTION,
    CallEntry,
    Chapter,
    DeploymentEntry,
    EventEntry,
    Shape,
    TargetEntry,
    TaskEntry,
    WeightsEntry,
)

# The kinds of items, as a difference names them.
EVENT, STATUS, STAGE, TASK, TARGET, WEIGHTS = (
    "event", "deployment status", "lifecycle stage", "task status", "target state", "weights",
)  # fmt: skip
REASON, BREAKER, HOOK, STOP, EXIT, TARGET_REASON = (
    "status reason", "circuit breaker", "hook status", "stopped task", "exit code", "target reason",
)  # fmt: skip
_Timed = DeploymentEntry | TaskEntry | TargetEntry | WeightsEntry
Item = tuple[str, str]
"""A kind, and a value of that kind."""


@dataclass(kw_only=True)
class Seen:
    """When an item was seen first and last, in AWS's seconds and as a place in the chapter, and the longest that it lasted.

    Times are None if they were not measured. How long the last item lasted is unknown.
    """

    place: int
    at: float | None
    last_place: int
    last_at: float | None
    lasted: float | None = None
    source: str = ""


@dataclass(kw_only=True)
class Operation:
    """The shapes of all calls of one operation, joined."""

    codes: dict[str, str] = field(default_factory=dict)
    answers: dict[str, set[str]] = field(default_factory=dict)
    source: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    """The number of answers that have a field with its parent, by path; that of all answers by the empty path."""

    def add(self, answer: Shape) -> None:
        self.counts[""] += 1
        for path, types in answer.items():
            self.answers.setdefault(path, set()).update(types.split("|"))
            parent = path.rpartition(".")[0]
            self.counts[path] += not parent or parent in answer

    def has_sometimes(self, path: str) -> bool:
        """Return whether only answers in a certain state have this field, such as those on stopped tasks."""
        return 0 < self.counts[path] < self.counts[path.rpartition(".")[0]]


@dataclass(kw_only=True)
class Facts:
    """`every` and `is_complete` are those of the chapter."""

    every: float | None
    is_complete: bool
    outcome: str
    items: dict[Item, Seen] = field(default_factory=dict)
    sequences: dict[str, list[str]] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)


def facts_of(chapter: Chapter) -> Facts:
    """Return the facts of a chapter."""
    facts = Facts(every=chapter.every, is_complete=chapter.is_complete, outcome=chapter.outcome)
    shares = _Shares()
    lasting = _Lasting(facts=facts)
    for place, entry in enumerate(chapter.entries):
        match entry:
            case CallEntry():
                _add_call(facts, entry)
            case EventEntry():
                _add(facts, (EVENT, template(entry.message)), place, entry.at, entry.source)
            case WeightsEntry():
                share = shares.of(entry)
                if share is not None:
                    item = (WEIGHTS, f"{entry.rule} {share}")
                    facts.sequences.setdefault(f"{entry.rule} weights", []).append(share)
                    lasting.note(("weights", entry.rule), item, entry, place=place)
            case _:
                for subject, item in _states(entry):
                    lasting.note(subject, item, entry, place=place)
    _join(facts)
    return facts


def _states(entry: DeploymentEntry | TaskEntry | TargetEntry) -> Iterator[tuple[tuple[str, str], Item]]:
    """Yield the values of an entry, each with its subject and its kind."""
    if isinstance(entry, DeploymentEntry):
        own = entry.deployment
        yield (STATUS, own), (STATUS, entry.status)
        if entry.stage and entry.status != "PENDING":
            yield (STAGE, own), (STAGE, f"{entry.stage}{_rolling_back(entry.status)}")
        if entry.reason:
            yield (REASON, own), (REASON, f"{entry.status}: {template(entry.reason)}")
        if entry.breaker:
            yield (BREAKER, own), (BREAKER, entry.breaker)
        for hook in entry.hooks[-1:]:
            yield (HOOK, own), (HOOK, hook)
    elif isinstance(entry, TaskEntry):
        yield (TASK, entry.task), (TASK, entry.status)
        if entry.status == "STOPPED":
            yield (STOP, entry.task), (STOP, _end_of(entry))
            if entry.exit_code is not None:
                yield (EXIT, entry.task), (EXIT, f"{entry.stop_code}: {entry.exit_code}")
    else:
        yield (TARGET, entry.target), (TARGET, entry.state or "gone")
        if entry.reason:
            yield (TARGET_REASON, entry.target), (TARGET_REASON, f"{entry.state}: {entry.reason}")


def _rolling_back(status: str) -> str:
    return " of the rollback" if status.startswith("ROLLBACK") else ""


def _end_of(entry: TaskEntry) -> str:
    parts = (entry.stop_code, template(entry.stopped_reason), template(entry.container_reason))
    return ", ".join(part for part in parts if part)


@dataclass(kw_only=True)
class _Lasting:
    """The last known value of each subject, and since when."""

    facts: Facts
    last: dict[tuple[str, str], tuple[Item, float | None]] = field(default_factory=dict)

    def note(self, subject: tuple[str, str], item: Item, entry: _Timed, *, place: int) -> None:
        """Note the present value of a subject, and how long the previous one lasted."""
        before = self.last.get(subject)
        if before is not None and before[0] == item:
            return
        if before is not None and entry.at is not None and before[1] is not None:
            seen = self.facts.items[before[0]]
            seen.lasted = max(seen.lasted or 0.0, entry.at - before[1])
        self.last[subject] = (item, entry.at)
        _add(self.facts, item, place, entry.at, entry.source)


def _add(facts: Facts, item: Item, place: int, at: float | None, source: str) -> None:
    seen = facts.items.get(item)
    if seen is None:
        facts.items[item] = Seen(place=place, at=at, last_place=place, last_at=at, source=source)
    else:
        seen.last_place, seen.last_at = place, at


def _add_call(facts: Facts, entry: CallEntry) -> None:
    operation = facts.operations.setdefault(f"{entry.service}:{entry.operation}", Operation())
    operation.source = operation.source or entry.source
    if entry.code:
        operation.codes.setdefault(entry.code, template(entry.message))
    if entry.answer is not None:
        operation.add(entry.answer)


def _join(facts: Facts) -> None:
    """Collapse equal neighbours."""
    for name, values in facts.sequences.items():
        facts.sequences[name] = [
            value for number, value in enumerate(values) if number == 0 or values[number - 1] != value
        ]


class _Shares:
    """Turns weights into the share of the group that had no traffic when the chapter began."""

    def __init__(self) -> None:
        self._old: str = ""

    def of(self, entry: WeightsEntry) -> str | None:
        total = sum(entry.weights.values())
        if total <= 0:
            return None
        if not self._old and entry.rule == PRODUCTION:
            self._old = max(entry.weights, key=lambda group: entry.weights[group])
        old = self._old or max(entry.weights, key=lambda group: entry.weights[group])
        new = sum(weight for group, weight in entry.weights.items() if group != old)
        return f"{round(100 * new / total)}%"

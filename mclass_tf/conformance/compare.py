"""Compares two recordings: order, wording and durations of what was seen, and the shapes of answers.

Order, words and durations must agree. How often a recorder looked must not matter: a state that was too short to be seen is not missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from mclass_tf.conformance.facts import (
    EVENT,
    REASON,
    STAGE,
    STATUS,
    STOP,
    TARGET,
    TARGET_REASON,
    TASK,
    WEIGHTS,
    Facts,
    Item,
    Operation,
    Seen,
    facts_of,
)
from mclass_tf.conformance.recording import Chapter, Recording
from mclass_tf.errors import ConfigurationError, Hint

SAME_SETTINGS = "settings"
_BESIDES = 2.0
"""The tolerance of a time in AWS's seconds, besides the time between two looks. AWS returns some times in whole seconds."""
_APART = 5.0
"""AWS's seconds that must lie between two items of different kinds before their order counts."""
# The durations that AWS's own timers determine, each with its tolerance in AWS's seconds. Others (a pull, a start) are not compared.
_TIMED: Mapping[Item, float] = {
    (TARGET, "draining"): 15.0,  # the deregistration delay
    (TASK, "DEACTIVATING"): 20.0,  # the same delay, and what ECS takes for it
    (STAGE, "BAKE_TIME"): 20.0,
}
_STEP = 20.0  # for the bake time of a step, in which a part of the traffic is with the new revision
_QUICK_STAGES = (
    "RECONCILE_SERVICE", "PRE_SCALE_UP", "POST_SCALE_UP", "TEST_TRAFFIC_SHIFT", "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT", "CLEAN_UP",
)  # fmt: skip
# States that last as long as a pull, a start or a smoke test. No timer of AWS determines them, so they may end before a look.
_PASSING = frozenset(
    {
        *((TASK, status) for status in ("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "STOPPING", "DEPROVISIONING")),
        *((TARGET, state) for state in ("initial", "unhealthy")),
        *((STAGE, f"{stage}{of}") for stage in _QUICK_STAGES for of in ("", " of the rollback")),
        *((STATUS, status) for status in ("PENDING", "STOP_REQUESTED", "ROLLBACK_REQUESTED")),
    }
)  # fmt: skip
_PASSING_REASONS = ("initial: ", "unhealthy: ")
# The lease and the ledger learn from S3's errors which objects exist. Which errors occur depends on who was first.
_BY_CHANCE = "s3:"
_MOST_THINGS = 500
"""Different things in a chapter; a life has some dozens. Each is compared with each other one."""
_SHARP = 1.0
"""Looks that are no further apart than this, in AWS's seconds, see every state."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`what` is "missing", "order", "words", "duration", "sequence", "error", "answer", "outcome", "chapter" or "settings"."""

    chapter: str
    what: str
    entry: str
    left: str
    right: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.chapter}: {self.entry}: {self.what}: {self.left} | {self.right}"


def compare(left: Recording, right: Recording) -> tuple[Difference, ...]:
    """Return how the recordings differ, chapter by chapter. If one is partial, only what it contains is compared.

    Raise ConfigurationError if a chapter has more different things than can be compared.
    """
    return tuple(_differences(left, right))


def _differences(left: Recording, right: Recording) -> Iterator[Difference]:
    whole = not (left.is_partial or right.is_partial)
    if whole:
        yield from _settings(left, right)
    names = dict.fromkeys(chapter.name for chapter in (*left.chapters, *right.chapters))
    for name in names:
        one, other = left.chapter(name), right.chapter(name)
        if one is None or other is None:
            is_due = not left.is_partial if one is None else not right.is_partial
            # A chapter that only the partial recording has is no difference: the other one may have been cut short.
            if is_due:
                yield Difference(
                    chapter=name,
                    what="chapter",
                    entry="the whole chapter",
                    left="not there" if one is None else "there",
                    right="not there" if other is None else "there",
                )
            continue
        sides = _Sides(
            chapter=name,
            left=_bounded(one),
            right=_bounded(other),
            left_is_partial=left.is_partial,
            right_is_partial=right.is_partial,
        )
        yield from sides.differences()


def _bounded(chapter: Chapter) -> Facts:
    facts = facts_of(chapter)
    if len(facts.items) > _MOST_THINGS:
        raise ConfigurationError(
            f"the chapter {chapter.name!r} of a recording has {len(facts.items)} different things, more than {_MOST_THINGS}: "
            "no life of an environment has so many",
            hint=Hint("record another one: ", ("conform", "ENV", "--out", "FILE")),
        )
    return facts


def _settings(left: Recording, right: Recording) -> Iterator[Difference]:
    for name in sorted({*left.settings, *right.settings}):
        one, other = left.settings.get(name, "not set"), right.settings.get(name, "not set")
        if one != other:
            yield Difference(chapter="all", what=SAME_SETTINGS, entry=name, left=one, right=other)


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """The same chapter of two recordings."""

    chapter: str
    left: Facts
    right: Facts
    left_is_partial: bool
    right_is_partial: bool

    def differences(self) -> Iterator[Difference]:
        if self.left.outcome and self.right.outcome and self.left.outcome != self.right.outcome:
            yield self._difference("outcome", "the command's end", self.left.outcome, self.right.outcome)
        yield from self._missing()
        yield from self._sequences()
        yield from self._order()
        yield from self._durations()
        yield from self._calls()

    def _difference(self, what: str, entry: str, left: str, right: str, source: str = "") -> Difference:
        return Difference(chapter=self.chapter, what=what, entry=entry, left=left, right=right, source=source)

    def _missing(self) -> Iterator[Difference]:
        """Pair items that only one recording has with similar ones of the other, for kinds that consist of words."""
        only_left = [] if self.right_is_partial else _only(self.left, self.right)
        only_right = [] if self.left_is_partial else _only(self.right, self.left)
        for kind in dict.fromkeys(kind for kind, _ in (*only_left, *only_right)):
            here = [text for each, text in only_left if each == kind]
            there = [text for each, text in only_right if each == kind]
            if kind in (EVENT, REASON, STOP) and (pair := _alike(here, there)) is not None:
                yield self._difference("words", kind, *pair, self._source((kind, pair[0]), (kind, pair[1])))
                here.remove(pair[0])
                there.remove(pair[1])
            for text in here:
                yield self._difference("missing", kind, text, "never seen", self._source((kind, text)))
            for text in there:
                yield self._difference("missing", kind, "never seen", text, self._source((kind, text)))

    def _source(self, *items: Item) -> str:
        seen = (facts.items.get(item) for facts in (self.left, self.right) for item in items)
        return next((each.source for each in seen if each is not None and each.source), "")

    def _sequences(self) -> Iterator[Difference]:
        for name in self.left.sequences.keys() & self.right.sequences.keys():
            one, other = self.left.sequences[name], self.right.sequences[name]
            if one != other and not self._is_too_short(one, other):
                yield self._difference("sequence", name, " → ".join(one), " → ".join(other))

    def _is_too_short(self, one: list[str], other: list[str]) -> bool:
        """Return whether the sequences agree in the items that lasted long enough for both to see."""
        sides = (self.left, self.right)
        if all(side.is_complete or (side.every or 0.0) < _SHARP for side in sides):
            return False
        longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
        rest = iter(longer)
        return all(value in rest for value in shorter) and longer[-1] == shorter[-1] and len(shorter) > 1

    def _order(self) -> Iterator[Difference]:
        """Yield pairs of items that the recordings have in opposite orders."""
        common = [item for item in self.left.items if item in self.right.items]
        for first, second in combinations(sorted(common, key=lambda item: self.left.items[item].place), 2):
            here, there = _relation(self.left, first, second), _relation(self.right, first, second)
            if here * there < 0:
                early, late = (first, second) if here < 0 else (second, first)
                yield self._difference(
                    "order",
                    " and ".join(sorted({early[0], late[0]})),
                    f"{early[1]} before {late[1]}",
                    f"{late[1]} before {early[1]}",
                    self._source(first, second),
                )

    def _durations(self) -> Iterator[Difference]:
        looks = (self.left.every or 0.0) + (self.right.every or 0.0)
        for item, one in self.left.items.items():
            other, tolerance = self.right.items.get(item), _tolerance(item)
            if tolerance is None or other is None or one.lasted is None or other.lasted is None:
                continue
            if abs(one.lasted - other.lasted) > tolerance + looks:
                entry = f"{item[0]} {item[1]}"
                yield self._difference("duration", entry, f"{one.lasted:.0f} s", f"{other.lasted:.0f} s")

    def _calls(self) -> Iterator[Difference]:
        for name in sorted(self.left.operations.keys() | self.right.operations.keys()):
            one, other = self.left.operations.get(name), self.right.operations.get(name)
            # Which calls are made depends on the recorded commands and on the moments of their looks.
            if one is None or other is None:
                continue
            if not name.startswith(_BY_CHANCE):
                yield from self._codes(name, one, other)
            if one.counts[""] and other.counts[""]:
                yield from self._answers(name, one, other)

    def _codes(self, name: str, one: Operation, other: Operation) -> Iterator[Difference]:
        partial_ok = (not one.codes and self.left_is_partial) or (not other.codes and self.right_is_partial)
        if set(one.codes) != set(other.codes) and not partial_ok:
            yield self._difference(
                "error", name, ", ".join(sorted(one.codes)) or "no error", ", ".join(sorted(other.codes)) or "no error",
                one.source or other.source,
            )  # fmt: skip
        for code in one.codes.keys() & other.codes.keys():
            here, there = one.codes[code], other.codes[code]
            if here and there and here != there:
                yield self._difference("words", f"{name} {code}", here, there, one.source or other.source)

    def _answers(self, name: str, one: Operation, other: Operation) -> Iterator[Difference]:
        for path in sorted(one.answers.keys() | other.answers.keys()):
            here, there = one.answers.get(path), other.answers.get(path)
            is_left_out = (here is None and self.left_is_partial) or (there is None and self.right_is_partial)
            if here == there or is_left_out or _parent_is_absent(path, one, other):
                continue
            # It depends on the moment of the call, which differs between any two recordings.
            if (there is None and one.has_sometimes(path)) or (here is None and other.has_sometimes(path)):
                continue
            yield self._difference(
                "answer", f"{name} {path}", _types(here), _types(there), one.source or other.source
            )


def _tolerance(item: Item) -> float | None:
    """Return the tolerance, in AWS's seconds, of a duration that AWS's timers determine; None for any other."""
    is_step = item[0] == WEIGHTS and not item[1].endswith((" 0%", " 100%"))
    return _STEP if is_step else _TIMED.get(item)


def _only(facts: Facts, other: Facts) -> list[Item]:
    """Return the items that only `facts` has, and that the other recorder could not have missed."""
    every = 0.0 if other.is_complete else other.every or 0.0
    return [
        item
        for item, seen in facts.items.items()
        if item not in other.items and not _could_be_missed(item, seen, every=every)
    ]


def _could_be_missed(item: Item, seen: Seen, *, every: float) -> bool:
    if every < _SHARP or item[0] == EVENT:
        return False
    if item in _PASSING or (item[0] == TARGET_REASON and item[1].startswith(_PASSING_REASONS)):
        return True
    return seen.lasted is not None and seen.lasted <= every + _BESIDES


def _alike(here: list[str], there: list[str]) -> tuple[str, str] | None:
    """Return the two texts that most likely say the same in other words; None if there are none."""
    if not here or not there:
        return None
    words = {text: frozenset(text.split()) for text in (*here, *there)}
    return max(
        ((one, other) for one in here for other in there),
        key=lambda pair: len(words[pair[0]] & words[pair[1]]),
    )


def _relation(facts: Facts, first: Item, second: Item) -> int:
    """Return -1 where the first item was seen clearly before the second, 1 clearly after, else 0.

    It must have begun before and ended before: a chapter may have two deployments, and many tasks.
    """
    one, other = facts.items[first], facts.items[second]
    if None in (one.at, other.at, one.last_at, other.last_at):
        # A list without times tells the order within one kind.
        return _order(_place(one), _place(other), by=0.0) if first[0] == second[0] else 0
    by = 0.0 if first[0] == second[0] == EVENT else (facts.every or 0.0) + _APART
    return _order((one.at or 0.0, one.last_at or 0.0), (other.at or 0.0, other.last_at or 0.0), by=by)


def _place(seen: Seen) -> tuple[float, float]:
    return seen.place, seen.last_place


def _order(one: tuple[float, float], other: tuple[float, float], *, by: float) -> int:
    apart = [here - there for here, there in zip(one, other, strict=True)]
    return all(each > by for each in apart) - all(each < -by for each in apart)


def _parent_is_absent(path: str, one: Operation, other: Operation) -> bool:
    """Return whether a difference above this path covers it: an empty list or object has no fields."""
    parent = path.rpartition(".")[0].removesuffix("[]") or ""
    while parent:
        if (parent in one.answers) != (parent in other.answers):
            return True
        parent = parent.rpartition(".")[0].removesuffix("[]")
    is_in_list = "[]" in path
    return is_in_list and not (_has_elements(path, one) and _has_elements(path, other))


def _has_elements(path: str, operation: Operation) -> bool:
    return f"{path[: path.rindex('[]')]}[]" in operation.answers


def _types(types: set[str] | None) -> str:
    return "absent" if types is None else " or ".join(sorted(types))

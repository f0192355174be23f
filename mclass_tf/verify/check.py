"""Checks: each is a statement about the applied environment, and the comparisons that prove or refute it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mclass_tf.verify.world import World


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison: its subject, the expected value and the actual value."""

    what: str
    expected: str
    actual: str
    holds: bool

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.actual}"


class NotApplicableError(Exception):
    """This environment has nothing to check here. The message says why."""


class CheckFunction(Protocol):
    """Inspects the world and yields every comparison. Yielding none is a failure, because nothing was verified."""

    def __call__(self, world: World, /) -> Iterator[Comparison]: ...


@dataclass(frozen=True, kw_only=True)
class Check:
    """`name` is a sentence that states the behaviour. `hint` says what to do if the check fails."""

    name: str
    group: str
    hint: str
    probe: CheckFunction = field(repr=False)


class CheckDecorator(Protocol):
    """Registers a probe as a check under its sentence. The probe itself is unchanged."""

    def __call__(self, sentence: str, /, *, hint: str) -> Callable[[CheckFunction], CheckFunction]: ...


class CheckRegistry:
    """The checks in order of declaration."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def group(self, name: str) -> CheckDecorator:
        """Return the decorator that adds checks to the group `name`."""

        def check(sentence: str, /, *, hint: str) -> Callable[[CheckFunction], CheckFunction]:
            def register(probe: CheckFunction) -> CheckFunction:
                if sentence in self._checks:
                    raise ValueError(f"two checks are named {sentence!r}")
                self._checks[sentence] = Check(name=sentence, group=name, hint=hint, probe=probe)
                return probe

            return register

        return check

    def all(self) -> tuple[Check, ...]:
        return tuple(self._checks.values())


registry = CheckRegistry()


def holds(what: str, condition: bool, *, expected: object, actual: object) -> Comparison:  # noqa: FBT001
    return Comparison(what=what, expected=_text(expected), actual=_text(actual), holds=condition)


def equal(what: str, *, expected: object, actual: object) -> Comparison:
    return holds(what, expected == actual, expected=expected, actual=actual)


def one_of(what: str, *, allowed: Collection[object], actual: object) -> Comparison:
    expected = " or ".join(_text(value) for value in allowed)
    return holds(what, actual in allowed, expected=expected, actual=actual)


def within(what: str, *, allowed: Collection[str], actual: Collection[str]) -> Comparison:
    """Hold if `actual` has nothing beyond `allowed`. The caller must judge an empty `actual`."""
    return holds(
        what, set(actual) <= set(allowed), expected=f"only {_text(set(allowed))}", actual=set(actual)
    )


def contains(what: str, *, required: Collection[str], actual: Collection[str]) -> Comparison:
    return holds(what, set(required) <= set(actual), expected=_text(set(required)), actual=set(actual))


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (set, frozenset, list, tuple)):
        items = sorted(map(_text, value)) if isinstance(value, (set, frozenset)) else map(_text, value)
        return ", ".join(items) or "nothing"
    return str(value) or "nothing"

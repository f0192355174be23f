"""Which of moto's tests fail against the local AWS, and why: `expected.toml`, and what deviates from it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mclass_tf.local.wildcards import matches

EXPECTED = Path(__file__).with_name("expected.toml")
_CRASH = "LocalAwsInternalError"
_KEYS = frozenset({"kind", "why", "source", "tests"})


class Kind(Enum):
    """Why a test fails."""

    NOT_MODELLED = "not modelled"  # the local AWS says so
    STRICTER = "AWS refuses this"  # or answers otherwise than moto; `source` says where AWS does
    CHOSEN = "differs by choice"  # the local AWS does more or less than AWS may, and says which
    ARTEFACT = (
        "artefact"  # of running the test here: it looks at moto's insides, or at a request that was completed
    )


class ExpectationError(ValueError):
    """The list is invalid."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Tests that fail for one reason. `tests` are patterns of ids; one without parameters means all parameters."""

    kind: Kind
    why: str
    source: str
    tests: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one test. `message` is the error of a failed one."""

    outcome: str
    message: str = ""


def read(path: Path = EXPECTED) -> tuple[Expectation, ...]:
    """Return the list; raise ExpectationError if it is invalid."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(_expectation(entry) for entry in document["expected"])


def _expectation(entry: Mapping[str, object]) -> Expectation:
    unknown = set(entry) - _KEYS
    tests = entry.get("tests")
    if unknown or not isinstance(tests, list) or not tests or not entry.get("why"):
        raise ExpectationError(
            f"an entry needs kind, why and tests, and has nothing else but source: {entry}"
        )
    expectation = Expectation(
        kind=Kind(entry.get("kind")),
        why=str(entry["why"]),
        source=str(entry.get("source", "")),
        tests=tuple(str(test) for test in tests),
    )
    if expectation.kind is Kind.STRICTER and not expectation.source.startswith("https://"):
        raise ExpectationError(f"'{expectation.why}' needs a source: where AWS says so")
    return expectation


def deviations(
    results: Mapping[str, Result], expectations: Iterable[Expectation], *, services: Iterable[str]
) -> list[str]:
    """Return what deviates from the list, in either direction. Entries of services that did not run are ignored."""
    folders = tuple(f"test_{service}/" for service in services)
    patterns = [
        (pattern, entry) for entry in expectations for pattern in entry.tests if pattern.startswith(folders)
    ]
    failed = {test for test, result in results.items() if result.outcome == "failed"}
    found = [
        f"failed unexpectedly: {test}\n    {results[test].message}"
        for test in sorted(failed)
        if not any(_covers(pattern, test) for pattern, _ in patterns)
    ]
    found += [
        f"failed by a bug of the local AWS: {test}\n    {results[test].message}"
        for test in sorted(failed)
        if _CRASH in results[test].message and any(_covers(pattern, test) for pattern, _ in patterns)
    ]
    for pattern, entry in patterns:
        covered = [test for test in results if _covers(pattern, test)]
        if not covered:
            found.append(f"listed, but there is no such test: {pattern}")
        found += [
            f"passed or was skipped, but is listed as '{entry.kind.value}': {test}"
            for test in covered
            if test not in failed
        ]
    return found


def _covers(pattern: str, test: str) -> bool:
    return matches(pattern, test) or ("[" not in pattern and matches(f"{pattern}[*]", test))

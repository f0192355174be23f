"""The report of a verification, as values and as text."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mclass_tf.terminal import inline


class CheckStatus(enum.Enum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The outcome of one check. `detail` states the expected and actual values, or why the check was skipped."""

    name: str
    group: str
    status: CheckStatus
    detail: str
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        return {
            "name": self.name,
            "group": self.group,
            "status": self.status.value,
            "detail": self.detail,
            "hint": self.hint,
        }


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """All results, in the order of the checks."""

    results: tuple[VerifyResult, ...]

    @property
    def passed(self) -> int:
        return self._count(CheckStatus.PASSED)

    @property
    def failed(self) -> int:
        return self._count(CheckStatus.FAILED)

    @property
    def skipped(self) -> int:
        return self._count(CheckStatus.SKIPPED)

    @property
    def ok(self) -> bool:
        """Whether at least one check passed and none failed."""
        return self.failed == 0 and self.passed > 0

    def replaced(self, newer: VerifyReport) -> VerifyReport:
        """Return the report with the results of `newer` in place of earlier ones of the same checks."""
        by_name = {each.name: each for each in newer.results}
        return VerifyReport(results=tuple(by_name.get(each.name, each) for each in self.results))

    def to_json(self) -> dict[str, Any]:
        """Return the document of `verify --json`: the counts and every result."""
        return {
            "passed": self.passed,
            "failed": self.failed,
            "skipped": self.skipped,
            "results": [result.to_json() for result in self.results],
        }

    def _count(self, status: CheckStatus) -> int:
        return sum(result.status is status for result in self.results)


_LABELS = {CheckStatus.PASSED: "OK", CheckStatus.FAILED: "NG", CheckStatus.SKIPPED: "SKIP"}


def render(report: VerifyReport) -> str:
    """Return the report as a tree of OK, NG and SKIP by group, and the counts."""
    lines: list[str] = []
    for group, results in groupby(report.results, key=lambda result: result.group):
        lines.append(group)
        for result in results:
            lines.extend(_lines(result))
    lines.append(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    return "\n".join(map(inline, lines))


def _lines(result: VerifyResult) -> Iterator[str]:
    yield f"  {_LABELS[result.status]:<4}  {result.name}"
    if result.status is CheckStatus.SKIPPED:
        yield f"        {result.detail}"
    if result.status is CheckStatus.FAILED:
        yield from (f"        {line}" for line in result.detail.split("\n"))
        yield f"        fix: {result.hint}"

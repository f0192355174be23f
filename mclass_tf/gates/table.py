"""Renders verdicts as a table for a terminal: by resource, each finding with its fix."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mclass_tf.gates.verdict import Finding, Problem, Verdict, WaivedFinding
from mclass_tf.terminal import cut, inline

_NARROWEST: Final = 40
_MARK: Final = {"failed": "31", "warning": "33", "waived": "36", "passed": "32"}


def render(verdicts: Sequence[Verdict], *, width: int = 100, colour: bool = False) -> str:
    """Return the table. Lines are at most `width` wide unless a word is longer. ANSI colours only if `colour`."""
    style = _Style(width=max(width, _NARROWEST), colour=colour)
    return "\n".join(line for verdict in verdicts for line in _verdict(verdict, style))


@dataclass(frozen=True, kw_only=True)
class _Style:
    width: int
    colour: bool

    def mark(self, word: str) -> str:
        return f"\033[{_MARK[word]}m{word.upper()}\033[0m" if self.colour else word.upper()

    def wrapped(self, text: str, *, indent: str, first: str | None = None) -> list[str]:
        lead = indent if first is None else first
        return textwrap.wrap(
            text,
            self.width,
            initial_indent=lead,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _verdict(verdict: Verdict, style: _Style) -> Iterator[str]:
    by_resource = itertools.groupby(
        sorted(verdict.failed, key=lambda f: (f.resource, f.check)), lambda f: f.resource
    )
    for resource, findings in by_resource:
        yield inline(resource)
        for finding in findings:
            yield from _finding(finding, style)
        yield ""
    for problem in (*verdict.blocking, *verdict.warnings):
        yield from _problem(problem, style)
        yield ""
    if verdict.waived:
        yield from _waived(verdict.waived, style)
        yield ""
    yield from style.wrapped(_counts(verdict, style), indent="  ", first="")


def _finding(finding: Finding, style: _Style) -> Iterator[str]:
    where = f"  {finding.file}:{finding.line}" if finding.file else ""
    yield f"  {style.mark('failed')}  {inline(finding.check + where)}"
    yield from style.wrapped(inline(finding.title), indent="          ")
    yield from style.wrapped(inline(finding.fix), indent="               ", first="          fix: ")


def _problem(problem: Problem, style: _Style) -> Iterator[str]:
    word = "failed" if problem.blocking else "warning"
    yield from style.wrapped(f"{style.mark(word)}  {inline(problem.message)}", indent="  ", first="")
    yield from style.wrapped(inline(problem.fix), indent="       ", first="  fix: ")


def _waived(waived: Sequence[WaivedFinding], style: _Style) -> Iterator[str]:
    counted: dict[tuple[str, str, str, str], int] = {}
    for entry in waived:
        waiver = entry.waiver
        key = (waiver.check, waiver.resource, waiver.expires.isoformat(), waiver.reason)
        counted[key] = counted.get(key, 0) + 1
    for (check, resource, expires, reason), times in counted.items():
        several = f" ({times} findings)" if times > 1 else ""
        line = f"  {check} {resource}{several} until {expires}: "
        yield f"{style.mark('waived')}{cut(inline(line + reason), style.width - len('waived'))}"


def _counts(verdict: Verdict, style: _Style) -> str:
    word = style.mark("passed" if verdict.passed else "failed")
    return (
        f"{word}  {verdict.gate}: {_number(verdict.checked, 'check')}, "
        f"{len(verdict.failed) + len(verdict.blocking)} failed, {len(verdict.waived)} waived, "
        f"{_number(len(verdict.warnings), 'warning')}, {verdict.seconds:.1f} s"
    )


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

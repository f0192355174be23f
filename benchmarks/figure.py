"""Figures: measurements with the limits that they must keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.command import Took


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A row of the report. `limit` is the promised maximum; None for a row that only explains others."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        return None if self.limit is None else self.value <= self.limit


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a benchmark. Keeps the single runs, by command or by measurement."""

    benchmark: str
    figures: tuple[Figure, ...]
    runs: Mapping[str, Sequence[Took] | Sequence[float]]


def table(results: Sequence[Result]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| figure | measured | promised | |", "|---|---:|---:|---|"]
    for result in results:
        lines += [_row(figure) for figure in result.figures]
    return "\n".join(lines)


def _row(figure: Figure) -> str:
    promised = "" if figure.limit is None else f"≤ {_number(figure.limit, figure.unit)}"
    verdict = {
        None: figure.note,
        True: _joined("holds", figure.note),
        False: _joined("**missed**", figure.note),
    }
    return f"| {figure.name} | {_number(figure.value, figure.unit)} | {promised} | {verdict[figure.holds]} |"


def _joined(verdict: str, note: str) -> str:
    return f"{verdict}; {note}" if note else verdict


def _number(value: float, unit: str) -> str:
    digits = {"/s": 0, "MB": 0, "ms": 2, "s": 2, "%": 1, "": 2}[unit]
    return f"{value:.{digits}f} {unit}".rstrip()

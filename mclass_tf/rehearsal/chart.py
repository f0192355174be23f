"""Charts of a rehearsal, all on one time axis: SVG that stretches to any width, with words set in HTML so that they do not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mclass_tf.rehearsal.html_text import escape

# The drawing's own units; the browser stretches them.
WIDTH, HEIGHT = 1000.0, 100.0
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_MOST_TICKS = 8
_MOST_POINTS = 400


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The time that a page shows, in seconds since the epoch."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return max(self.end - self.start, 1.0)

    def x(self, at: float) -> float:
        """Return where a time is, in the drawing's units, within it."""
        return round(min(max((at - self.start) / self.seconds, 0.0), 1.0) * WIDTH, 2)

    def percent(self, at: float) -> str:
        return f"{self.x(at) / WIDTH * 100:.2f}%"

    def span(self, start: float, end: float) -> str:
        """Return the style of a box from one time to another."""
        left, right = self.x(start), self.x(end)
        return f"left:{left / WIDTH * 100:.2f}%;width:{max(right - left, 0.0) / WIDTH * 100:.2f}%"

    def ticks(self) -> list[float]:
        """Return round numbers of seconds since the start, at most eight."""
        step = next((step for step in _STEPS if self.seconds / step <= _MOST_TICKS), _STEPS[-1])
        return [float(second) for second in range(0, int(self.seconds) + 1, step)]


@dataclass(frozen=True, kw_only=True)
class LogScale:
    """Latencies: powers of ten from `low` to `high`, milliseconds."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> LogScale:
        seen = [value for value in values if value > 0] or [1.0]
        low, high = math.floor(math.log10(min(seen))), math.ceil(math.log10(max(seen)))
        return cls(low=10.0**low, high=10.0 ** max(high, low + 1))

    def y(self, value: float) -> float:
        share = (math.log10(max(value, self.low)) - math.log10(self.low)) / (
            math.log10(self.high) - math.log10(self.low)
        )
        return round(HEIGHT * (1 - min(share, 1.0)), 2)

    def ticks(self) -> list[float]:
        powers = range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)
        return [10.0**power for power in powers]


def drawing(shapes: Iterable[str], *, label: str) -> str:
    """Return an image of shapes; `label` is what it says to who cannot see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{"".join(shapes)}</svg>'
    )


def line(points: Sequence[tuple[float, float | None]], *, kind: str) -> str:
    """Return a line through the points, broken where there is no value."""
    commands, is_open = [], False
    for x, y in points:
        if y is None:
            is_open = False
            continue
        commands.append(f"{'L' if is_open else 'M'}{x:g} {y:g}")
        is_open = True
    return f'<path class="line {kind}" d="{"".join(commands)}"/>' if commands else ""


def area(points: Sequence[tuple[float, float]], base: Sequence[tuple[float, float]], *, kind: str) -> str:
    """Return the area between two lines of the same length."""
    if not points:
        return ""
    there = "L".join(f"{x:g} {y:g}" for x, y in points)
    back = "L".join(f"{x:g} {y:g}" for x, y in reversed(base))
    return f'<path class="area {kind}" d="M{there}L{back}Z"/>'


def box(*, left: float, right: float, top: float, bottom: float, kind: str, title: str = "") -> str:
    """Return a rectangle, at least a hair wide."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    width = max(right - left, 1.5)
    return (
        f'<rect class="box {kind}" x="{left:g}" y="{top:g}" width="{width:g}" height="{max(bottom - top, 0):g}">'
        f"{inner}</rect>"
    )


def thinned(count: int) -> int:
    """Return how many values are to be shown as one, so that a drawing stays small."""
    return max(1, math.ceil(count / _MOST_POINTS))

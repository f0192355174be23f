"""Scales and SVG paths of a rehearsal's charts on one time axis, in units that the browser stretches to any width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1000.0, 100.0
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_MOST_TICKS = 8


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The time range of a page, in seconds since the epoch."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return max(self.end - self.start, 1.0)

    def x(self, at: float) -> float:
        """Return the x coordinate of a time in drawing units, clamped to the axis."""
        return round(min(max((at - self.start) / self.seconds, 0.0), 1.0) * WIDTH, 2)

    def left(self, at: float) -> str:
        """Return the CSS of a mark at a time."""
        return f"left:{self.x(at) / WIDTH * 100:.2f}%"

    def span(self, start: float, end: float) -> str:
        """Return the CSS of a box from `start` to `end`."""
        return f"{self.left(start)};width:{max(self.x(end) - self.x(start), 0.0) / WIDTH * 100:.2f}%"

    def ticks(self) -> list[float]:
        """Return at most eight round numbers of seconds since the start."""
        step = next((step for step in _STEPS if self.seconds / step <= _MOST_TICKS), _STEPS[-1])
        return [float(second) for second in range(0, int(self.seconds) + 1, step)]

    def stairs(self, steps: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return the corners of a step chart. Each step is a time and a share of the height, valid until the next step."""
        ends = [*(at for at, _ in steps[1:]), self.end]
        return [
            (self.x(at), round(HEIGHT * (1 - share), 2))
            for (start, share), end in zip(steps, ends, strict=True)
            for at in (start, end)
        ]


@dataclass(frozen=True, kw_only=True)
class LogScale:
    """A logarithmic scale of latencies in milliseconds, between two powers of ten."""

    low: int
    high: int

    @classmethod
    def of(cls, values: Iterable[float]) -> LogScale:
        powers = [math.log10(value) for value in values if value > 0] or [0.0]
        low = math.floor(min(powers))
        return cls(low=low, high=max(math.ceil(max(powers)), low + 1))

    def y(self, value: float) -> float:
        share = (math.log10(max(value, 10.0**self.low)) - self.low) / (self.high - self.low)
        return round(HEIGHT * (1 - min(share, 1.0)), 2)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def line(points: Iterable[tuple[float, float | None]]) -> str:
    """Return the path of a line, with gaps for None; "" if all values are None."""
    commands, command = [], "M"
    for x, y in points:
        if y is not None:
            commands.append(f"{command}{x:g} {y:g}")
        command = "M" if y is None else "L"
    return "".join(commands)


def area(top: Sequence[tuple[float, float]], base: Sequence[tuple[float, float]]) -> str:
    """Return the path around the area between two lines."""
    corners = (f"{x:g} {y:g}" for x, y in [*top, *reversed(base)])
    return f"M{'L'.join(corners)}Z" if top else ""

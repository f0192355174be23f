"""Metrics as CloudWatch keeps them: what was measured, by the second and by the minute, and statistics of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

MINUTE = 60

_SECONDS_KEPT = 1200  # seconds with data; older ones remain by the minute
_MINUTES_KEPT = 1440
_SERIES_KEPT = 5000
_BASE = 1.02  # of the classes that values are counted in: percentiles are right to one per cent
_POSITIVE = 1 << 20  # classes of positive values lie about here, those of negative ones about its opposite
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100)")

SIMPLE = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")

Dimensions = tuple[tuple[str, str], ...]

TimeSeries = dict[int, float]
"""Values by the number of their period; a period without one is missing."""


def is_statistic(name: str) -> bool:
    """Return whether statistics of that name are modelled: the simple ones, and percentiles such as p99.9."""
    return name in SIMPLE or _PERCENTILE.fullmatch(name) is not None


@dataclass(kw_only=True)
class Stats:
    """Values, summed up. `classes` counts them by their size; None if only their sums were told."""

    count: float = 0.0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    classes: dict[int, float] | None = field(default_factory=dict)

    def add(self, value: float, *, times: float = 1.0) -> None:
        self.count += times
        self.total += value * times
        self.low = min(self.low, value)
        self.high = max(self.high, value)
        if self.classes is not None:
            index = _class_of(value)
            self.classes[index] = self.classes.get(index, 0.0) + times

    def merge(self, other: Stats) -> None:
        self.count += other.count
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        if self.classes is None or other.classes is None:
            self.classes = None
            return
        for index, times in other.classes.items():
            self.classes[index] = self.classes.get(index, 0.0) + times

    def value(self, statistic: str) -> float | None:
        """Return the statistic, or None where there is nothing to tell it from."""
        if self.count <= 0:
            return None
        simple = {
            "SampleCount": self.count,
            "Average": self.total / self.count,
            "Sum": self.total,
            "Minimum": self.low,
            "Maximum": self.high,
        }
        return simple[statistic] if statistic in simple else self._percentile(float(statistic[1:]))

    def _percentile(self, per_cent: float) -> float | None:
        if per_cent in (0, 100) or self.low == self.high:
            return self.high if per_cent == 100 else self.low  # noqa: PLR2004  per cent
        if self.classes is None:
            return None
        rank, count = self.count * per_cent / 100, 0.0
        for index in sorted(self.classes):
            count += self.classes[index]
            if count >= rank:
                return min(max(_middle(index), self.low), self.high)
        return self.high


def _class_of(value: float) -> int:
    if value == 0:
        return 0
    size = round(math.log(abs(value), _BASE))
    return _POSITIVE + size if value > 0 else -_POSITIVE - size


def _middle(index: int) -> float:
    if index == 0:
        return 0.0
    return _BASE ** (index - _POSITIVE) if index > 0 else -(_BASE ** (-index - _POSITIVE))


class Series:
    """One metric over time. What comes is kept by the second for a while, and by the minute for a day of data.

    When there is too much, what was told first goes first.
    """

    def __init__(self, *, unit: str | None = None) -> None:
        self.unit = unit
        self._seconds: dict[int, Stats] = {}
        self._minutes: dict[int, Stats] = {}

    def add(self, at: float, stats: Stats) -> None:
        second = math.floor(at)
        minute = second - second % MINUTE
        _entry(self._seconds, second, kept=_SECONDS_KEPT).merge(stats)
        _entry(self._minutes, minute, kept=_MINUTES_KEPT).merge(stats)

    def has(self, second: int) -> bool:
        return second in self._seconds

    def window(self, start: float, end: float) -> Stats:
        """Sum up what was measured from `start` to before `end`; of what is kept by the minute alone, whole minutes."""
        total = Stats()
        by_minute = start % MINUTE == 0 and end % MINUTE == 0
        split = end if by_minute else min(end, self._seconds_from())
        for minute in _within(self._minutes, start, split):
            total.merge(self._minutes[minute])
        for second in _within(self._seconds, max(start, split), end):
            total.merge(self._seconds[second])
        return total

    def _seconds_from(self) -> float:
        """Return the first whole minute that is all kept by the second."""
        first = min(self._seconds, default=0)
        if len(self._seconds) < _SECONDS_KEPT:
            return float(first - first % MINUTE)
        return float(first + -first % MINUTE)


def _entry(entries: dict[int, Stats], key: int, *, kept: int) -> Stats:
    stats = entries.get(key)
    if stats is None:
        if len(entries) >= kept:
            del entries[next(iter(entries))]
        stats = entries[key] = Stats()
    return stats


def _within(entries: Mapping[int, Stats], start: float, end: float) -> Iterator[int]:
    if end - start < len(entries):
        return (key for key in range(math.ceil(start), math.ceil(end)) if key in entries)
    return (key for key in entries if start <= key < end)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What CloudWatch takes for one metric: another value of a dimension is another metric."""

    namespace: str
    name: str
    dimensions: Dimensions = ()


def dimensions(values: Mapping[str, str]) -> Dimensions:
    return tuple(sorted(values.items()))


class Metrics:
    """All metrics of an account in a region; when there are too many, the one that came first goes."""

    def __init__(self) -> None:
        self._series: dict[Metric, Series] = {}

    def add(self, metric: Metric, *, at: float, stats: Stats, unit: str | None = None) -> None:
        series = self._series.get(metric)
        if series is None:
            if len(self._series) >= _SERIES_KEPT:
                del self._series[next(iter(self._series))]
            series = self._series[metric] = Series(unit=unit)
        series.add(at, stats)

    def find(self, metric: Metric) -> Series | None:
        return self._series.get(metric)

    def all(self) -> Iterable[Metric]:
        return tuple(self._series)

"""A store of metrics like CloudWatch's: values by the second and by the minute, and their statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

MINUTE = 60
NO_UNIT = "None"
"""The unit of values that were reported without one."""

_MAX_SECONDS = 1200  # seconds with data; older data remains by the minute
_MAX_MINUTES = 1440
_MAX_SERIES = 5000
_BASE = 1.02  # ratio of adjacent histogram classes: percentiles are accurate to one per cent
_POSITIVE = 1 << 20  # class of the value 1; the class of -1 is its negative
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100)")

SIMPLE = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")

Dimensions = tuple[tuple[str, str], ...]

TimeSeries = dict[int, float]
"""Values by the index of their period. Periods without a value are missing."""


def is_statistic(name: str) -> bool:
    """Return whether the statistic is modelled: a simple one, or a percentile such as p99.9."""
    return name in SIMPLE or _PERCENTILE.fullmatch(name) is not None


@dataclass(kw_only=True)
class Stats:
    """Aggregated values. `classes` is their histogram, or None if only aggregates were reported."""

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
        """Return the statistic, or None if the data is insufficient."""
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
    exponent = round(math.log(abs(value), _BASE))
    return _POSITIVE + exponent if value > 0 else -_POSITIVE - exponent


def _middle(index: int) -> float:
    if index == 0:
        return 0.0
    return _BASE ** (index - _POSITIVE) if index > 0 else -(_BASE ** (-index - _POSITIVE))


class Series:
    """One metric in one unit over time: by the second for a while, and by the minute for a day of data.

    The data that was reported first is dropped first.
    """

    def __init__(self, *, unit: str) -> None:
        self.unit = unit
        self._seconds: dict[int, Stats] = {}
        self._minutes: dict[int, Stats] = {}

    def add(self, at: float, stats: Stats) -> None:
        second = math.floor(at)
        minute = second - second % MINUTE
        _entry(self._seconds, second, limit=_MAX_SECONDS).merge(stats)
        _entry(self._minutes, minute, limit=_MAX_MINUTES).merge(stats)

    def has(self, second: int) -> bool:
        return second in self._seconds

    def window(self, start: float, end: float) -> Stats:
        """Aggregate the data from `start` (inclusive) to `end` (exclusive). Older data counts by whole minutes."""
        total = Stats()
        by_minute = start % MINUTE == 0 and end % MINUTE == 0
        split = end if by_minute else min(end, self._seconds_from())
        for minute in _within(self._minutes, start, split):
            total.merge(self._minutes[minute])
        for second in _within(self._seconds, max(start, split), end):
            total.merge(self._seconds[second])
        return total

    def _seconds_from(self) -> float:
        """Return the start of the first minute that is completely available by the second."""
        first = min(self._seconds, default=0)
        if len(self._seconds) < _MAX_SECONDS:
            return float(first - first % MINUTE)
        return float(first + -first % MINUTE)


def _entry(entries: dict[int, Stats], key: int, *, limit: int) -> Stats:
    stats = entries.get(key)
    if stats is None:
        if len(entries) >= limit:
            del entries[next(iter(entries))]
        stats = entries[key] = Stats()
    return stats


def _within(entries: Mapping[int, Stats], start: float, end: float) -> Iterator[int]:
    if end - start < len(entries):
        return (key for key in range(math.ceil(start), math.ceil(end)) if key in entries)
    return (key for key in entries if start <= key < end)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The identity of a metric. As in CloudWatch, each combination of dimensions is a separate metric."""

    namespace: str
    name: str
    dimensions: Dimensions = ()


def dimensions(values: Mapping[str, str]) -> Dimensions:
    return tuple(sorted(values.items()))


class Metrics:
    """All metrics of an account in a region. The oldest metric is dropped if there are too many.

    Values of different units are separate series.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricStat.html
    """

    def __init__(self) -> None:
        self._series: dict[Metric, dict[str, Series]] = {}

    def add(self, metric: Metric, *, at: float, stats: Stats, unit: str | None = None) -> None:
        by_unit = self._series.get(metric)
        if by_unit is None:
            if len(self._series) >= _MAX_SERIES:
                del self._series[next(iter(self._series))]
            by_unit = self._series[metric] = {}
        name = unit or NO_UNIT
        by_unit.setdefault(name, Series(unit=name)).add(at, stats)

    def find(self, metric: Metric, *, unit: str | None = None) -> tuple[Series, ...]:
        """Return the series of the metric, of one unit or of all."""
        return tuple(series for name, series in self._series.get(metric, {}).items() if unit in {None, name})

    def all(self) -> Iterable[Metric]:
        return tuple(self._series)

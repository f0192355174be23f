"""Metrics by the second and by the minute, and their statistics."""

from __future__ import annotations

import pytest

from mclass_tf.local.aws.cloudwatch.metrics import Metric, Metrics, Series, Stats, is_statistic


def _stats(*values: float) -> Stats:
    found = Stats()
    for value in values:
        found.add(value)
    return found


@pytest.mark.parametrize(
    ("statistic", "value"),
    [("SampleCount", 4), ("Sum", 10), ("Average", 2.5), ("Minimum", 1), ("Maximum", 4)],
)
def test_the_simple_statistics(statistic: str, value: float) -> None:
    assert _stats(1, 2, 3, 4).value(statistic) == value


@pytest.mark.parametrize(
    ("statistic", "value"), [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p0", 0.001)]
)
def test_percentiles_are_accurate_to_one_per_cent(statistic: str, value: float) -> None:
    stats = _stats(*(number / 1000 for number in range(1, 1001)))
    assert stats.value(statistic) == pytest.approx(value, rel=0.011)


def test_percentiles_are_within_the_measured_values() -> None:
    assert _stats(0.1013).value("p99") == 0.1013
    assert _stats(-2, 0, 2).value("p0") == -2
    assert _stats(-2, 0, 2).value("p50") == 0
    assert _stats(-2, 0, 2).value("p100") == 2


def test_aggregates_without_values_have_no_percentiles() -> None:
    aggregates = Stats(count=2, total=3, low=1, high=2, classes=None)
    assert aggregates.value("p50") is None
    both = _stats(1)
    both.merge(aggregates)
    assert (both.value("Sum"), both.value("p50")) == (4, None)


def test_missing_data_is_not_zero() -> None:
    assert Stats().value("Sum") is None


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("Sum", True),
        ("p99", True),
        ("p99.99", True),
        ("p100", True),
        ("p101", False),
        ("tm99", False),
        ("IQM", False),
    ],
)
def test_unmodelled_statistics_are_recognized(name: str, *, is_known: bool) -> None:
    assert is_statistic(name) is is_known


def test_a_window_includes_its_start_and_excludes_its_end() -> None:
    series = Series(unit="None")
    for second in (59, 60, 61, 119, 120):
        series.add(second + 0.5, _stats(1))
    assert series.window(60, 120).count == 3
    assert series.window(60, 61).count == 1
    assert series.window(61, 66).count == 1


def test_old_values_remain_by_the_minute_and_memory_is_bounded() -> None:
    series = Series(unit="None")
    for second in range(200_000):
        series.add(second, _stats(1))
    assert series.window(120_000, 120_060).count == 60
    assert series.window(199_990, 200_000).count == 10
    assert series.window(190_030, 190_040).count == 0, "only whole minutes are kept of then"
    assert series.window(0, 60).count == 0, "a day of minutes is kept"
    assert len(series._seconds) <= 1200
    assert len(series._minutes) <= 1440


def test_a_window_over_seconds_and_minutes_counts_nothing_twice() -> None:
    series = Series(unit="None")
    for second in range(6000):
        series.add(second, _stats(1))
    assert series.window(0, 5999).count == 5999


def test_the_number_of_metrics_is_bounded() -> None:
    metrics = Metrics()
    for number in range(6000):
        metrics.add(Metric(namespace="N", name=str(number)), at=0, stats=_stats(1))
    assert len(list(metrics.all())) == 5000
    assert metrics.find(Metric(namespace="N", name="0")) == ()
    assert metrics.find(Metric(namespace="N", name="5999"))

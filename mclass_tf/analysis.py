"""The analysis: judge the new version against the old one under production traffic. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

MAX_ERROR_PERCENT = (0.0, 100.0)
MAX_LATENCY_RATIO = (1.0, 1000.0)
LATENCY_FLOOR_SECONDS = (0.0, 3600.0)
MIN_REQUESTS = (1, 1_000_000_000)

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"

_Z = 1.959963984540054  # 95 % of the normal distribution lie within this many standard deviations
_FEWEST_ERRORS = 5  # with fewer than `min_requests` requests, fewer errors than this may be chance
_TENTH = 0.1


@dataclass(frozen=True, kw_only=True)
class AnalysisLimits:
    """How much worse than the old version the new one may be before it is rolled back.

    `max_error_percent`: the new version's share of 5xx responses may exceed the old one's by this many percentage points.
    `max_latency_ratio`: its 99th percentile may be this many times the old one's. A percentile below `latency_floor_seconds`
    is never too slow. With fewer than `min_requests` requests, the analysis is inconclusive.
    """

    is_on: bool = True
    max_error_percent: float = 1.0
    max_latency_ratio: float = 2.0
    latency_floor_seconds: float = 0.5
    min_requests: int = 100


class VersionMetrics(Protocol):
    """The metrics of one version: requests, failed requests, and 99th percentile of latency in seconds, if known."""

    @property
    def requests(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def p99(self) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """`verdict` is PASSED, FAILED or INCONCLUSIVE. `reason` gives the figures."""

    verdict: str
    reason: str


def judge(new: VersionMetrics, old: VersionMetrics, limits: AnalysisLimits) -> Judgement:
    """Compare the metrics of both versions.

    FAILED needs evidence. The lower end of the 95 % confidence interval of the new version's share of errors must exceed the
    allowed share. With fewer than `min_requests` requests, at least five must also have failed. The 99th percentiles are only
    compared if both versions had enough requests. Otherwise the verdict is PASSED with enough requests, and INCONCLUSIVE with
    fewer. An old version without requests counts as one without errors.
    """
    if _fails_too_often(new, old, limits):
        points = (
            f"{limits.max_error_percent:g} percentage point{'' if limits.max_error_percent == 1 else 's'}"
        )
        return Judgement(verdict=FAILED, reason=f"{shares(new, old)}; at most {points} more is allowed")
    if _is_too_slow(new, old, limits):
        allowed = f"at most {limits.max_latency_ratio:g} times that is allowed"
        return Judgement(verdict=FAILED, reason=f"{_percentiles(new, old)}; {allowed}")
    if new.requests >= limits.min_requests:
        return Judgement(verdict=PASSED, reason=f"{shares(new, old)}; {_latency(new, old, limits)}")
    return Judgement(verdict=INCONCLUSIVE, reason=_too_few(new, old, limits))


def shares(new: VersionMetrics, old: VersionMetrics) -> str:
    """Return the share of errors of both versions: "new 0.2 % of 512 requests failed, old 0.0 % of 9,730"."""
    after = f"{_percent(old)} of {old.requests:,}" if old.requests else "had no requests"
    if not new.requests:
        return f"new had no requests, old {after}"
    return f"new {_percent(new)} of {_requests(new)} failed, old {after}"


def lower_bound(errors: int, requests: int) -> float:
    """Return the lower end of the 95 % Wilson score interval of the share of errors, from 0 to 1.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927;
    https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval
    """
    if errors <= 0 or requests <= 0:
        return 0.0
    share, spread = min(errors / requests, 1.0), _Z * _Z / requests
    middle = share + spread / 2
    reach = _Z * math.sqrt((share * (1 - share) + spread / 4) / requests)
    return max(0.0, (middle - reach) / (1 + spread))


def _fails_too_often(new: VersionMetrics, old: VersionMetrics, limits: AnalysisLimits) -> bool:
    # If the old version had few requests, use its lower bound: one error in one request does not prove 100 %.
    before = _share(old) if _is_enough(old, limits) else lower_bound(old.errors, old.requests)
    allowed = before + limits.max_error_percent / 100
    return _is_enough(new, limits) and lower_bound(new.errors, new.requests) > allowed


def _is_enough(side: VersionMetrics, limits: AnalysisLimits) -> bool:
    return side.requests >= limits.min_requests or side.errors >= _FEWEST_ERRORS


def _is_too_slow(new: VersionMetrics, old: VersionMetrics, limits: AnalysisLimits) -> bool:
    if new.p99 is None or old.p99 is None or min(new.requests, old.requests) < limits.min_requests:
        return False
    return new.p99 > limits.latency_floor_seconds and new.p99 > limits.max_latency_ratio * old.p99


def _share(side: VersionMetrics) -> float:
    return min(side.errors / side.requests, 1.0) if side.requests else 0.0


def _too_few(new: VersionMetrics, old: VersionMetrics, limits: AnalysisLimits) -> str:
    if not new.requests:
        return "CloudWatch tells of no requests to the new version"
    return f"too little traffic to judge by ({limits.min_requests:,} requests are needed): {shares(new, old)}"


def _latency(new: VersionMetrics, old: VersionMetrics, limits: AnalysisLimits) -> str:
    if new.p99 is None or old.p99 is None:
        return "latency not compared: not enough data yet"
    if old.requests < limits.min_requests:
        return f"latency not compared: the old version had {_requests(old)}"
    return _percentiles(new, old)


def _percentiles(new: VersionMetrics, old: VersionMetrics) -> str:
    return f"99th percentile: new {_seconds(new.p99)}, old {_seconds(old.p99)}"


def _requests(side: VersionMetrics) -> str:
    return f"{side.requests:,} request{'' if side.requests == 1 else 's'}"


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f} s"


def _percent(side: VersionMetrics) -> str:
    """Return the share of errors; a small one must not look like zero."""
    percent = 100 * _share(side)
    return "<0.1 %" if 0 < percent < _TENTH else f"{percent:.1f} %"

"""Counts the outcomes of requests in bounded memory: by phase, by second, and the first failures in full."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from hdrh.histogram import HdrHistogram

from mclass_tf.rehearsal.result import COMPARED, FailedRequest, Latency, LoadPhase, Sample, SenderQuality

LONGEST_US = 600 * 1_000_000
_DIGITS = 3
KEPT_FAILURES = 5000
# Bounds the memory if a service reports a new version with every answer.
_MAX_VERSIONS = 20
LATE_SECONDS = 0.1
_LATE_SHARE = 0.05
_SLOW_SHARE = 0.98


def histogram() -> HdrHistogram:
    """Return an empty histogram of microseconds, up to ten minutes, with three significant digits."""
    return HdrHistogram(1, LONGEST_US, _DIGITS)


def latency_of(recorded: HdrHistogram) -> Latency | None:
    """Return the latencies of a histogram of microseconds, in milliseconds; None if it is empty."""
    count = recorded.get_total_count()
    if not count:
        return None
    p50, p90, p99, p999, highest = (
        _ms(recorded.get_value_at_percentile(percent)) for percent in (50, 90, 99, 99.9, 100)
    )
    return Latency(count=count, mean=_ms(_mean(recorded)), p50=p50, p90=p90, p99=p99, p999=p999, max=highest)


def _mean(recorded: HdrHistogram) -> float:
    """Return the same as `get_mean_value`, but from non-zero counts only: hdrh iterates over every possible bucket."""
    total = 0
    for index, count in enumerate(recorded.counts):
        if count:
            lowest = recorded.get_value_from_index(index)
            total += count * ((lowest + recorded.get_highest_equivalent_value(lowest) + 1) // 2)
    return float(total / recorded.get_total_count())


def _ms(microseconds: float) -> float:
    return round(microseconds / 1000, 3)


@dataclass(frozen=True, kw_only=True)
class RequestOutcome:
    """The outcome of one request. `kind` "" is a good answer. `due`, `begun` and `ended` are seconds of one clock."""

    part: str
    path: str
    number: int
    due: float
    begun: float
    ended: float
    kind: str
    connection: str
    version: str = ""
    asked_seconds: float = 0.0
    is_measured: bool = True


@dataclass
class _PhaseTally:
    name: str
    started: float
    sent: int = 0
    steady: int = 0
    failed: int = 0
    late: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    latency: HdrHistogram = field(default_factory=histogram)
    long_latency: HdrHistogram = field(default_factory=histogram)


@dataclass
class _Second:
    """The requests due in one second. It closes when all of them have ended."""

    sent: int = 0
    pending: int = 0
    failed: int = 0
    latencies: list[float] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    failed_versions: Counter[str] = field(default_factory=Counter)


class Tally:
    """`wall` is the offset from the sender's clock to seconds since the epoch."""

    def __init__(self, *, wall: float, now: float) -> None:
        self._wall = wall
        self._started = now
        self._phases = [_PhaseTally("warm-up", now)]
        self._seconds: dict[int, _Second] = {}
        self._lateness = histogram()
        self._kept = 0
        self._versions: set[str] = set()
        self._connections: Counter[str] = Counter()
        self.left_out = 0

    @property
    def phase(self) -> str:
        return self._phases[-1].name

    @property
    def sent(self) -> int:
        return sum(phase.sent for phase in self._phases)

    @property
    def failed(self) -> int:
        return sum(phase.failed for phase in self._phases)

    def enter(self, name: str, *, now: float) -> None:
        """Begin a phase for the requests that are due from `now` on."""
        self._phases.append(_PhaseTally(name, now))

    def began(self, *, part: str, due: float, begun: float) -> None:
        """Count a request as sent."""
        phase = self._phase_at(due)
        phase.sent += 1
        second = self._seconds.setdefault(int(due - self._started), _Second())
        second.sent += 1
        second.pending += 1
        if part != "probe":
            phase.steady += 1
            late = max(0.0, begun - due)
            self._lateness.record_value(_bounded(late))
            phase.late += late > LATE_SECONDS

    def ended(self, outcome: RequestOutcome) -> FailedRequest | None:
        """Count an outcome. Return the failed request if it must be reported individually."""
        self._connections[outcome.connection] += 1
        self._measure(outcome)
        if not outcome.kind:
            return None
        phase = self._phases[-1]
        phase.failed += 1
        phase.by_kind[outcome.kind] += 1
        if self._kept >= KEPT_FAILURES:
            self.left_out += 1
            return None
        self._kept += 1
        return FailedRequest(
            started_at=self._wall + outcome.due,
            ended_at=self._wall + outcome.ended,
            phase=phase.name,
            kind=outcome.kind,
            path=outcome.path,
            connection=outcome.connection,
            part=outcome.part,
            number=outcome.number,
            version=outcome.version,
        )

    def _measure(self, outcome: RequestOutcome) -> None:
        second = self._seconds[int(outcome.due - self._started)]
        second.pending -= 1
        second.failed += bool(outcome.kind)
        if outcome.version:
            version = self._known(outcome.version)
            second.versions[version] += 1
            if outcome.kind:
                second.failed_versions[version] += 1
        if not outcome.is_measured or outcome.part == "probe":
            return
        taken = outcome.ended - outcome.due - outcome.asked_seconds
        phase = self._phase_at(outcome.due)
        if outcome.part == "long":
            phase.long_latency.record_value(_bounded(taken))
        else:
            phase.latency.record_value(_bounded(taken))
            second.latencies.append(taken * 1000)

    def _known(self, version: str) -> str:
        if len(self._versions) < _MAX_VERSIONS:
            self._versions.add(version)
        return version if version in self._versions else "others"

    def _phase_at(self, time: float) -> _PhaseTally:
        return next((phase for phase in reversed(self._phases) if phase.started <= time), self._phases[0])

    def samples(self, *, now: float, is_over: bool = False) -> Iterator[Sample]:
        """Yield each completed second whose requests have all ended, once and in order."""
        for number in sorted(self._seconds):
            second = self._seconds[number]
            if second.pending or not (is_over or self._started + number + 1 <= now):
                return
            del self._seconds[number]
            yield self._sample(number, second)

    def _sample(self, number: int, second: _Second) -> Sample:
        values = sorted(second.latencies)
        return Sample(
            at=self._wall + self._started + number,
            sent=second.sent,
            failed=second.failed,
            p50=_nearest(values, 0.5),
            p99=_nearest(values, 0.99),
            max=_nearest(values, 1.0),
            versions=dict(second.versions),
            failed_versions=dict(second.failed_versions),
        )

    def phases(self, *, now: float) -> Iterator[LoadPhase]:
        """Yield the phases. The last one ends now."""
        ends = [*(phase.started for phase in self._phases[1:]), now]
        for phase, end in zip(self._phases, ends, strict=True):
            yield LoadPhase(
                name=phase.name,
                started_at=self._wall + phase.started,
                ended_at=self._wall + end,
                sent=phase.sent,
                steady=phase.steady,
                failed=phase.failed,
                late=phase.late,
                by_kind=dict(phase.by_kind),
                latency=latency_of(phase.latency),
                long_latency=latency_of(phase.long_latency),
                histogram=phase.latency.encode().decode("ascii"),
            )

    def sender(self, *, rate: float, now: float) -> SenderQuality:
        """Judge the quality of the sending."""
        steady = sum(phase.steady for phase in self._phases)
        seconds = max(now - self._started, 1e-9)
        why = self._behind(achieved=steady / seconds, rate=rate)
        return SenderQuality(
            late=sum(phase.late for phase in self._phases),
            worst_ms=_ms(self._lateness.get_max_value()),
            p99_ms=_ms(self._lateness.get_value_at_percentile(99)),
            rate=rate,
            achieved_rate=round(steady / seconds, 1),
            is_behind=bool(why),
            why=why,
        )

    def _behind(self, *, achieved: float, rate: float) -> str:
        """Return why the load fell behind its plan, or "". One phase alone can spoil a comparison."""
        compared = [phase for phase in self._phases if phase.name in COMPARED]
        for phase in compared or self._phases:
            if phase.late > max(_LATE_SHARE * phase.steady, 1):
                return (
                    f"{phase.late} of {phase.steady} requests of the phase {phase.name!r} were begun more than "
                    f"{LATE_SECONDS * 1000:.0f} ms late"
                )
        if achieved < _SLOW_SHARE * rate and rate > 1:
            return f"{achieved:.0f} requests a second were sent instead of {rate:g}"
        return ""

    def end(self, *, rate: float, now: float) -> dict[str, Any]:
        """Return the final report."""
        return {
            "phases": [asdict(phase) for phase in self.phases(now=now)],
            "sender": asdict(self.sender(rate=rate, now=now)),
            "left_out": self.left_out,
            "started_at": self._wall + self._started,
            "ended_at": self._wall + now,
            "connections_new": self._connections["new"],
            "connections_reused": self._connections["reused"],
        }


def _bounded(seconds: float) -> int:
    return min(max(round(seconds * 1_000_000), 1), LONGEST_US)


def _nearest(values: list[float], share: float) -> float | None:
    """Return the value at a share of a sorted list, by the nearest rank."""
    if not values:
        return None
    return round(values[max(0, math.ceil(share * len(values)) - 1)], 3)

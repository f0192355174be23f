"""The report of a rehearsal: its runs with their verdicts, and totals over all runs."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mclass_tf.rehearsal.result import COMPARED, PHASES, Exposure, Latency, Promotion, Rehearsal
from mclass_tf.rehearsal.tally import histogram, latency_of
from mclass_tf.rehearsal.verdict import FAILED, INCONCLUSIVE, PASSED, RehearsalVerdict

_MAX_FAILED_SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class RehearsalRun:
    rehearsal: Rehearsal
    verdict: RehearsalVerdict


@dataclass(frozen=True, kw_only=True)
class Report:
    """`scenario` is "" for a plain release. `promise` states in a sentence what the scenario requires.

    `source` is the environment that was promoted from, or "". `strategy` is how traffic shifted to the new version.
    """

    environment: str
    target: str
    scenario: str
    promise: str
    runs: tuple[RehearsalRun, ...]
    source: str = ""
    strategy: str = ""

    @property
    def outcome(self) -> str:
        outcomes = {run.verdict.outcome for run in self.runs}
        return next((outcome for outcome in (FAILED, INCONCLUSIVE) if outcome in outcomes), PASSED)

    @property
    def sent(self) -> int:
        return sum(run.rehearsal.load.sent for run in self.runs)

    @property
    def failed(self) -> int:
        return sum(run.rehearsal.load.failures for run in self.runs)

    @property
    def killed(self) -> int:
        return sum(run.verdict.killed for run in self.runs)

    @property
    def by_kind(self) -> dict[str, int]:
        counted: Counter[str] = Counter()
        for run in self.runs:
            counted.update(run.rehearsal.load.by_kind)
        return dict(counted.most_common())

    @property
    def shown(self) -> RehearsalRun:
        """The run to show in full: the first that did not pass, else the last."""
        return next((run for run in self.runs if not run.verdict.passed), self.runs[-1])

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(reason for run in self.runs for reason in run.verdict.reasons))

    def latency(self, phase: str) -> Latency | None:
        """Return the latencies of a phase over all runs."""
        merged = histogram()
        for run in self.runs:
            latest = run.rehearsal.load.phase(phase)
            if latest is not None and latest.histogram:
                merged.decode_and_add(latest.histogram)
        return latency_of(merged)

    def p99_ratio(self) -> float | None:
        """The 99th percentile of the latency during the release, divided by that before it."""
        before, during = self.latency("before"), self.latency("during")
        if before is None or during is None or not before.p99:
            return None
        return round(during.p99 / before.p99, 2)

    def phases(self) -> dict[str, dict[str, Any]]:
        """Return the requests sent and failed by phase, over all runs."""
        phases: dict[str, dict[str, Any]] = {}
        for name in PHASES:
            own = [phase for run in self.runs for phase in run.rehearsal.load.phases if phase.name == name]
            kinds: Counter[str] = Counter()
            for phase in own:
                kinds.update(phase.by_kind)
            if own:
                phases[name] = {
                    "sent": sum(phase.sent for phase in own),
                    "failed": sum(phase.failed for phase in own),
                    "by_kind": dict(kinds.most_common()),
                }
        return phases


def document(report: Report) -> dict[str, Any]:
    """Return the document of `rehearse --json`: a contract, in docs/rehearsal.md."""
    shown = report.shown
    return {
        "environment": report.environment,
        "target": report.target,
        "scenario": report.scenario or None,
        "strategy": report.strategy or None,
        "promise": report.promise,
        "verdict": report.outcome,
        "reasons": list(report.reasons),
        "requests": {
            "sent": report.sent,
            "failed": report.failed,
            "killed": report.killed,
            "by_kind": report.by_kind,
            "by_phase": report.phases(),
        },
        "latency": {name: _latency(report.latency(name)) for name in COMPARED},
        "p99_ratio": report.p99_ratio(),
        "runs": [_short_run(run) for run in report.runs],
        **_full_run(shown),
    }


def _short_run(run: RehearsalRun) -> dict[str, Any]:
    load = run.rehearsal.load
    latencies = {
        name: _latency(phase.latency) if (phase := load.phase(name)) is not None else None
        for name in COMPARED
    }
    return {
        "verdict": run.verdict.outcome,
        "reasons": list(run.verdict.reasons),
        "requests": {"sent": load.sent, "failed": load.failures, "killed": run.verdict.killed},
        "latency": latencies,
        "promotion": _promotion(run.rehearsal.promotion),
        "exposure": _exposure(run.rehearsal.exposure),
        "started_at": instant(run.rehearsal.started_at),
        "ended_at": instant(run.rehearsal.ended_at),
    }


def _full_run(run: RehearsalRun) -> dict[str, Any]:
    rehearsal = run.rehearsal
    load, release = rehearsal.load, rehearsal.release
    return {
        "started_at": instant(rehearsal.started_at),
        "ended_at": instant(rehearsal.ended_at),
        "diagnosis": [asdict(finding) for finding in run.verdict.findings],
        "settings": asdict(rehearsal.settings),
        "release": None if release is None else _times(asdict(release)),
        "promotion": _promotion(rehearsal.promotion),
        "exposure": _exposure(rehearsal.exposure),
        "killed": None if rehearsal.killed is None else _times(asdict(rehearsal.killed)),
        "deployments": [_times(asdict(deployment)) for deployment in rehearsal.deployments],
        "events": [_times(asdict(event)) for event in rehearsal.events],
        "incidents": [_times(asdict(incident)) for incident in rehearsal.incidents],
        "tasks": [_times(asdict(task)) for task in rehearsal.tasks],
        "failed_requests": [_times(asdict(request)) for request in load.failed[:_MAX_FAILED_SHOWN]],
        "failed_requests_left_out": load.failures - len(load.failed[:_MAX_FAILED_SHOWN]),
        "sender": asdict(load.sender),
        "notes": list(rehearsal.notes),
    }


def _promotion(promotion: Promotion | None) -> dict[str, Any] | None:
    if promotion is None:
        return None
    return {
        "from": promotion.source,
        "seconds": round(promotion.seconds, 3),
        "ecs_seconds": round(promotion.ecs_seconds, 3),
        "overhead_seconds": round(promotion.overhead_seconds, 3),
    }


def _exposure(exposure: Exposure | None) -> dict[str, Any] | None:
    return None if exposure is None else asdict(exposure)


def _latency(latency: Latency | None) -> dict[str, float] | None:
    return None if latency is None else asdict(latency)


def _times(document: Any) -> Any:
    if isinstance(document, Mapping):
        return {
            key: instant(value) if _is_time(key, value) else _times(value) for key, value in document.items()
        }
    if isinstance(document, (list, tuple)):
        return [_times(value) for value in document]
    return document


def _is_time(key: str, value: Any) -> bool:
    return (key == "at" or key.endswith("_at")) and isinstance(value, (int, float))


def instant(seconds: float) -> str:
    """Return a time in UTC, to the millisecond."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds")

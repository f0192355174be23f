"""Sample rehearsals, made of plain values, for the tests of verdict, document and page."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from mclass_tf.rehearsal.report import RehearsalRun, Report
from mclass_tf.rehearsal.result import (
    PHASES,
    BalancerFailure,
    FailedRequest,
    Latency,
    LoadPhase,
    LoadResult,
    Rehearsal,
    ReleaseResult,
    Sample,
    SenderQuality,
    ServiceSettings,
    TargetState,
    TaskTimeline,
    TimelineEvent,
)
from mclass_tf.rehearsal.tally import histogram, latency_of
from mclass_tf.rehearsal.verdict import Expected, judge

START = 1_795_400_000.0
RATE = 200
BOUNDS = (0, 5, 25, 31, 66, 90)
"""The start of each phase, in seconds, and the end."""
OLD, NEW = "3f9c2d1-a", "3f9c2d1-b"

SETTINGS = ServiceSettings(
    speed=10,
    desired_count=2,
    minimum_healthy_percent=50,
    maximum_percent=200,
    grace_period=60,
    deregistration_delay=60,
    idle_timeout=60,
    health_check_interval=10,
    healthy_threshold=2,
    unhealthy_threshold=3,
    stop_timeout=60,
    keep_alive=75,
    lame_duck=10,
    longest_request=30,
)
SENDER = SenderQuality(late=0, worst_ms=9.2, p99_ms=1.4, rate=RATE, achieved_rate=RATE, is_behind=False)


def phase(
    name: str, *, start: float, end: float, failed: Mapping[str, int] | None = None, slow: float = 1.0
) -> LoadPhase:
    """A phase at the constant rate, with latencies around 2 ms times `slow`."""
    sent = round((end - start) * RATE)
    latency, encoded = _latencies(name, sent, slow)
    kinds = dict(failed or {})
    return LoadPhase(
        name=name,
        started_at=START + start,
        ended_at=START + end,
        sent=sent,
        steady=sent,
        failed=sum(kinds.values()),
        late=0,
        by_kind=kinds,
        latency=latency,
        long_latency=None,
        histogram=encoded,
    )


@cache
def _latencies(name: str, count: int, slow: float) -> tuple[Latency | None, str]:
    drawn = random.Random(name)
    recorded = histogram()
    for _ in range(count):
        recorded.record_value(round(drawn.lognormvariate(7.6, 0.35) * slow))
    return latency_of(recorded), recorded.encode().decode("ascii")


def samples(*, failed: Mapping[int, int] | None = None) -> tuple[Sample, ...]:
    """One sample for each second: the new version takes over from second 45 to 55."""
    drawn = random.Random(7)
    found = []
    for second in range(BOUNDS[-1]):
        new = min(max((second - 44) / 10, 0), 1) if second >= 45 else 0
        slow = 2.2 if BOUNDS[2] <= second < BOUNDS[4] else 1.0
        balancer_failure = RATE - 4
        versions = {
            OLD: round(balancer_failure * (1 - new)),
            NEW: balancer_failure - round(balancer_failure * (1 - new)),
        }
        found.append(
            Sample(
                at=START + second,
                sent=RATE,
                failed=(failed or {}).get(second, 0),
                p50=round(2.0 + drawn.random() * 0.5, 3),
                p99=round((4.5 + drawn.random() * 3) * slow, 3),
                max=round((8 + drawn.random() * 30) * slow, 3),
                versions={name: count for name, count in versions.items() if count},
            )
        )
    return tuple(found)


def load(*, failed: tuple[FailedRequest, ...] = (), sender: SenderQuality = SENDER) -> LoadResult:
    """The load of all phases, with these failed requests."""
    by_second: dict[int, int] = {}
    for request in failed:
        second = int(request.started_at - START)
        by_second[second] = by_second.get(second, 0) + 1
    phases = []
    for name, start, end in zip(PHASES, BOUNDS, BOUNDS[1:], strict=False):
        kinds: dict[str, int] = {}
        for request in failed:
            if request.phase == name:
                kinds[request.kind] = kinds.get(request.kind, 0) + 1
        slow = 1.4 if name == "during" else 1.0
        phases.append(phase(name, start=start, end=end, failed=kinds, slow=slow))
    return LoadResult(
        started_at=START,
        ended_at=START + BOUNDS[-1],
        phases=tuple(phases),
        samples=samples(failed=by_second),
        failed=failed,
        left_out=0,
        sender=sender,
        connections_new=4_012,
        connections_reused=14_377,
    )


def failed_request(
    at: float, *, kind: str = "http_502", path: str = "/version", phase: str = "during"
) -> FailedRequest:
    return FailedRequest(
        started_at=START + at - 0.004,
        ended_at=START + at,
        phase=phase,
        kind=kind,
        path=path,
        connection="reused",
        part="steady",
        number=round(at * 1000),
    )


def balancer_failure(
    at: float,
    *,
    reason: str,
    status: int = 502,
    target: str = "10.10.1.10:3000",
    is_draining: bool = False,
    path: str = "/version",
) -> BalancerFailure:
    """The load balancer's report of a failure."""
    return BalancerFailure(
        at=START + at,
        reason=reason,
        status=status,
        target=target,
        target_is_draining=is_draining,
        path=path,
        in_flight_seconds=0.01,
    )


def task(
    number: int,
    *,
    revision: int = 7,
    created: float = -60,
    healthy: float | None = -50,
    draining: float | None = None,
    stopping: float | None = None,
    stopped: float | None = None,
    stop_code: str = "",
    reason: str = "",
    exit_code: int | None = None,
    states: tuple[TargetState, ...] | None = None,
) -> TaskTimeline:
    """A task at 10.10.1.NUMBER. Times are in seconds of the rehearsal."""
    if states is None:
        marks = [(created + 1.5, "initial"), (healthy, "healthy"), (draining, "draining"), (stopping, "")]
        states = tuple(TargetState(at=START + at, state=state) for at, state in marks if at is not None)
    return TaskTimeline(
        id=f"{number:08x}b7c14e0ea1f0cafe{number:08x}",
        revision=revision,
        created_at=START + created,
        private_ip=f"10.10.1.{number}",
        started_at=START + created + 1.2,
        stopping_at=None if stopping is None else START + stopping,
        stopped_at=None if stopped is None else START + stopped,
        stop_code=stop_code,
        stopped_reason=reason,
        exit_code=exit_code,
        target=states,
    )


_GONE: dict[str, Any] = {
    "stop_code": "ServiceSchedulerInitiated",
    "stopped_reason": "Scaling activity initiated by (deployment ecs-svc/1234567890123456789)",
    "exit_code": 0,
}


def tasks() -> tuple[TaskTimeline, ...]:
    """Two old tasks that two new ones replace."""
    return (
        replace(task(10, draining=46, stopping=52, stopped=62.5), **_GONE),
        replace(task(11, draining=50, stopping=56, stopped=66.5), **_GONE),
        task(12, revision=8, created=32, healthy=45),
        task(13, revision=8, created=32.5, healthy=48.5),
    )


def events() -> tuple[TimelineEvent, ...]:
    said = (
        (31.2, "rehearsal", "UpdateService: release of 3f9c2d1-b"),
        (
            32.0,
            "ecs",
            "(service mclass-service) has started 2 tasks: (task 0000000cb7c14e0e) (task 0000000db7c14e0e).",
        ),
        (
            34.1,
            "ecs",
            "(service mclass-service) registered 2 targets in (target-group arn:aws:elasticloadbalancing:ap-northeast-2:111111111111:targetgroup/mclass-blue/0123456789abcdef)",
        ),
        (46.0, "ecs", "(service mclass-service) has stopped 1 running tasks: (task 0000000ab7c14e0e)."),
        (46.1, "ecs", "(service mclass-service) has begun draining connections on 1 tasks."),
        (50.0, "ecs", "(service mclass-service) has stopped 1 running tasks: (task 0000000bb7c14e0e)."),
        (
            66.0,
            "ecs",
            "(service mclass-service) (deployment ecs-svc/1234567890123456789) deployment completed.",
        ),
        (66.1, "ecs", "(service mclass-service) has reached a steady state."),
    )
    return tuple(TimelineEvent(at=START + at, source=source, message=message) for at, source, message in said)


def rehearsal() -> Rehearsal:
    """A release without a failed request."""
    return Rehearsal(
        environment="dev",
        target="the local AWS at http://127.0.0.1:4566",
        scenario="",
        started_at=START,
        ended_at=START + BOUNDS[-1],
        load=load(),
        settings=SETTINGS,
        release=ReleaseResult(
            outcome="released",
            digest=f"sha256:{'b' * 64}",
            started_at=START + BOUNDS[2],
            ended_at=START + BOUNDS[4],
            old_version=OLD,
            new_version=NEW,
        ),
        tasks=tasks(),
        events=events(),
    )


def without_minimum() -> Rehearsal:
    """The same, with a minimum healthy percent of 0: for two seconds no task serves."""
    failed = tuple(
        failed_request(at=44 + number / 100, kind="http_503", path="/" if number % 2 else "/version")
        for number in range(200)
    )
    said = tuple(
        balancer_failure(
            at=44 + number / 100,
            reason="no_targets",
            status=503,
            target="",
            path="/" if number % 2 else "/version",
        )
        for number in range(200)
    )
    settings = replace(SETTINGS, minimum_healthy_percent=0, maximum_percent=100)
    return replace(
        rehearsal(),
        load=load(failed=failed),
        balancer_failures=said,
        settings=settings,
        scenario="without minimum-percent",
    )


def report(
    *runs: Rehearsal, expected: Expected | None = None, scenario: str = "", promise: str = ""
) -> Report:
    """A report on these runs, by default on one without a failure."""
    found = runs or (rehearsal(),)
    wanted = expected or Expected()
    return Report(
        environment="dev",
        target="the local AWS at http://127.0.0.1:4566",
        scenario=scenario,
        promise=promise,
        runs=tuple(RehearsalRun(rehearsal=run, verdict=judge(run, wanted)) for run in found),
    )

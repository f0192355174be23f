"""The results of a rehearsal, as values only. Times are seconds since the epoch, latencies milliseconds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

PHASES = ("warm-up", "before", "prepare", "during", "after")
"""In order. "prepare" lies between the steady state and the rollout: planning needs a processor core of its own."""

COMPARED = ("before", "during", "after")
"""The phases whose latencies are reported and compared."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Latencies of answered and timed-out requests, from the due time of each."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, kw_only=True)
class LoadPhase:
    """The requests of one phase. A request counts as sent in the phase of its due time, as failed in the phase of its end.

    `latency` is that of the steady short requests. `long_latency` is the time that long requests took beyond the requested one.
    `late` counts the steady requests that the sender started late.
    """

    name: str
    started_at: float
    ended_at: float
    sent: int
    steady: int
    failed: int
    late: int
    by_kind: Mapping[str, int]
    latency: Latency | None
    long_latency: Latency | None
    histogram: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The requests due in one second. Percentiles are None if nothing was answered.

    `versions` counts answers, errors of the service included, by version. `failed_versions` counts only the errors.
    """

    at: float
    sent: int
    failed: int
    p50: float | None
    p99: float | None
    max: float | None
    versions: Mapping[str, int]
    failed_versions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FailedRequest:
    """A request without a good answer.

    `kind`: "http_502", "connect_refused", …; `connection`: "new" or "reused"; `part`: "steady", "long", "probe". `version` is
    the one that answered, "" if the answer was not the service's.
    """

    started_at: float
    ended_at: float
    phase: str
    kind: str
    path: str
    connection: str
    part: str
    number: int
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class SenderQuality:
    """The quality of the sending. `is_behind`: latencies and timeouts may be the sender's own fault; `why` states the reason."""

    late: int
    worst_ms: float
    p99_ms: float
    rate: float
    achieved_rate: float
    is_behind: bool
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """All results of the load process. `failed` holds the first failures, and `left_out` counts the others."""

    started_at: float
    ended_at: float
    phases: tuple[LoadPhase, ...]
    samples: tuple[Sample, ...]
    failed: tuple[FailedRequest, ...]
    left_out: int
    sender: SenderQuality
    connections_new: int = 0
    connections_reused: int = 0

    @property
    def sent(self) -> int:
        return sum(phase.sent for phase in self.phases)

    @property
    def failures(self) -> int:
        return sum(phase.failed for phase in self.phases)

    @property
    def by_kind(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for phase in self.phases:
            for kind, count in phase.by_kind.items():
                counts[kind] = counts.get(kind, 0) + count
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def phase(self, name: str) -> LoadPhase | None:
        return next((phase for phase in self.phases if phase.name == name), None)


@dataclass(frozen=True, kw_only=True)
class TargetState:
    """The state of a target since `at`, as in DescribeTargetHealth; "" once it is not listed any more."""

    at: float
    state: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class TaskTimeline:
    """One task, from its creation to its end. None: not yet, or never seen. `revision` is its task definition revision's number."""

    id: str
    revision: int
    created_at: float
    private_ip: str = ""
    started_at: float | None = None
    stopping_at: float | None = None
    stopped_at: float | None = None
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None
    container_reason: str = ""
    target: tuple[TargetState, ...] = ()

    def lived_at(self, at: float) -> bool:
        """Whether it still ran at that time or started later. ECS lists tasks for an hour after their end."""
        return self.stopped_at is None or self.stopped_at >= at

    @property
    def left_at(self) -> float | None:
        """When the load balancer stopped sending it new requests."""
        left = (state.at for state in self.target if state.state in {"draining", "unused", ""})
        return next(left, None)

    @property
    def healthy_at(self) -> float | None:
        return next((state.at for state in self.target if state.state == "healthy"), None)


@dataclass(frozen=True, kw_only=True)
class TimelineEvent:
    """An event on the time axis. `source`: "ecs" for a service event, "rehearsal" for an action of the rehearsal."""

    at: float
    source: str
    message: str


@dataclass(frozen=True, kw_only=True)
class BalancerFailure:
    """A request that the load balancer itself answered with an error or broke off. Fields as in the local AWS's report."""

    at: float
    reason: str
    status: int
    target: str
    target_is_draining: bool
    path: str
    in_flight_seconds: float


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """The settings in force. Those of AWS are in AWS's units (seconds). None means unknown."""

    speed: float
    desired_count: int
    minimum_healthy_percent: int
    maximum_percent: int
    grace_period: int
    deregistration_delay: int
    idle_timeout: int
    health_check_interval: int
    healthy_threshold: int
    unhealthy_threshold: int
    stop_timeout: int | None = None
    circuit_breaker: bool = True
    keep_alive: float | None = None
    lame_duck: float | None = None
    longest_request: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReleaseResult:
    """The result of the release under traffic. `outcome`: "released", "unchanged", "failed". `exit_code` is that of `release`.

    `asked_at` is when the command began, `started_at` when it called UpdateService. `verified` is whether every check of the
    environment passed, or None if the rehearsal itself has changed what they check.
    """

    outcome: str
    digest: str
    cause: str = ""
    error: str = ""
    exit_code: int = 0
    asked_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    old_version: str = ""
    new_version: str = ""
    verified: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ObservedStage:
    """A stage that a service deployment reached, by ECS's name. `production` is the new version's traffic in per cent, or None."""

    name: str
    at: float
    production: float | None = None


@dataclass(frozen=True, kw_only=True)
class ObservedDeployment:
    """A service deployment that began during the rehearsal. `finished_at` is None if it had not finished by the end."""

    arn: str
    status: str
    created_at: float
    finished_at: float | None = None
    stages: tuple[ObservedStage, ...] = ()

    def spans(self, *, until: float) -> tuple[StageSpan, ...]:
        """Return the time spans of its stages. A stage in which the share grew in steps is one span."""
        own = [stage for stage in self.stages if self.finished_at is None or stage.at < self.finished_at]
        first = [each for n, each in enumerate(own) if n == 0 or own[n - 1].name != each.name]
        changes = itertools.pairwise([*(stage.at for stage in first), min(self.finished_at or until, until)])
        return tuple(
            StageSpan(name=stage.name, start=start, end=max(end, start))
            for stage, (start, end) in zip(first, changes, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class StageSpan:
    """The time that a deployment spent in a stage."""

    name: str
    start: float
    end: float

    @property
    def words(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The duration of a promotion: `seconds` in all, of which the ECS service deployment took `ecs_seconds`."""

    source: str
    seconds: float
    ecs_seconds: float

    @property
    def overhead_seconds(self) -> float:
        """Return the seconds outside ECS: proof, copy, plan, gates and apply before the deployment, verification after it."""
        return max(0.0, self.seconds - self.ecs_seconds)


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """How many production requests reached a version that was rolled back, by the answers of the load.

    It answered `requests`, of which `failed` with errors. `seconds` is the time between its first and last answer, and `share`
    its share of all requests due in that time. `limit` is the share that the strategy allowed. `balancer_requests` is the
    number that the production listener forwarded to its target group, or None if unknown.
    """

    requests: int
    failed: int
    share: float
    seconds: float
    limit: float
    sent: int = 0
    balancer_requests: int | None = None


@dataclass(frozen=True, kw_only=True)
class KilledCommand:
    """A release or promotion whose command was killed at `step`, and the result of `release --resume`.

    `exit_code`, `outcome` and `cause` are those that `release --resume` reported. `serves_what_it_says`, `record_is_true` and
    `is_plan_empty` state whether the service, the ledger and Terraform agree with that report.
    """

    step: str
    killed_at: float
    resumed_at: float
    ended_at: float
    exit_code: int
    outcome: str
    cause: str
    serves_what_it_says: bool
    record_is_true: bool
    is_plan_empty: bool


@dataclass(frozen=True, kw_only=True)
class Incident:
    """What a scenario did to one task on purpose: `kind` is "killed" (without notice) or "stopped" (by StopTask)."""

    at: float
    kind: str
    task: str


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """One run: its actions, its requests and its observations. `deployments` are those of its own service, in order."""

    environment: str
    target: str
    scenario: str
    started_at: float
    ended_at: float
    load: LoadResult
    settings: ServiceSettings
    release: ReleaseResult | None
    tasks: tuple[TaskTimeline, ...] = ()
    events: tuple[TimelineEvent, ...] = ()
    balancer_failures: tuple[BalancerFailure, ...] = ()
    incidents: tuple[Incident, ...] = ()
    strategy: str = ""
    deployments: tuple[ObservedDeployment, ...] = ()
    promotion: Promotion | None = None
    exposure: Exposure | None = None
    killed: KilledCommand | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def stages(self) -> tuple[ObservedStage, ...]:
        """Return the stages of all its deployments, in order."""
        return tuple(stage for deployment in self.deployments for stage in deployment.stages)

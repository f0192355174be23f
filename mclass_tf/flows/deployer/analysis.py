"""Compares the new version with the old one by the load balancer's metrics while a rollout shifts production traffic."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Protocol

from mclass_tf import verify
from mclass_tf.analysis import FAILED, INCONCLUSIVE, AnalysisLimits, judge, shares
from mclass_tf.aws import Aws, error_message
from mclass_tf.cloud import Cloud
from mclass_tf.ledger import AnalysisResult, Traffic, VersionCounts
from mclass_tf.local.loopback import ask
from mclass_tf.service import ServiceDeployment, ServiceRevision
from mclass_tf.session import Session
from mclass_tf.strategy import ROLLING

_NOTHING = VersionCounts(requests=0, errors=0)
_LAST_STAGE = "CLEAN_UP"
_BASELINE_SECONDS = 900.0
_FEWEST_PERIODS = 2
_MOST_DOUBLINGS = 3
_LOOK_SECONDS, _LOCAL_LOOKS = 15.0, (1.0, 5.0)
_ASK_SECONDS = 5.0
# CloudWatch's periods of up to a minute, in seconds. On AWS, a load balancer's metrics have one-minute periods at least.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricStat.html
_PERIODS = (1, 5, 10, 30, 60)

_NAMESPACE = "AWS/ApplicationELB"
_REQUESTS, _ERRORS, _UNREACHED, _LATENCY = (
    "RequestCount",
    "HTTPCode_Target_5XX_Count",
    "TargetConnectionErrorCount",
    "TargetResponseTime",
)
_COUNTED = (_REQUESTS, _ERRORS, "HTTPCode_ELB_5XX_Count")
_STATISTICS = {_REQUESTS: "Sum", _ERRORS: "Sum", _UNREACHED: "Sum", _LATENCY: "p99"}


class Revisions(Protocol):
    """The part of ECS that the analysis reads; see `service.Ecs`."""

    def revision(self, arn: str, /) -> ServiceRevision: ...


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast AWS's clock runs: `speed` is 1 on AWS, and set by its clock on the local AWS.

    All in seconds: `look` is the shortest time between two comparisons, `period` that of the metrics, and `baseline` the time
    before the production shift for which the old version counts.
    """

    speed: float = 1.0
    is_local: bool = False

    @property
    def look(self) -> float:
        shortest, longest = _LOCAL_LOOKS
        scaled = _LOOK_SECONDS / self.speed
        return min(max(scaled, shortest), longest) if self.is_local else _LOOK_SECONDS

    @property
    def period(self) -> int:
        return max((each for each in _PERIODS if each * self.speed <= _PERIODS[-1]), default=_PERIODS[0])

    @property
    def baseline(self) -> float:
        return _BASELINE_SECONDS / self.speed


def pace_of(cloud: Cloud) -> Pace:
    """Return the pace of a cloud; a local AWS whose clock does not answer counts as real time."""
    if not cloud.is_local:
        return Pace()
    try:
        answer = ask(f"{cloud.endpoint_url}/_mclass/clock", seconds=_ASK_SECONDS, key=cloud.key)
        return Pace(speed=max(float(answer["speed"]), 1.0), is_local=True)
    except (OSError, ValueError, KeyError, TypeError):
        return Pace(is_local=True)


@dataclass(frozen=True, kw_only=True)
class VersionTargets:
    """The target group of one version, and the time since when its metrics belong to that version."""

    target_group_arn: str
    since: dt.datetime


@dataclass(frozen=True, kw_only=True)
class CloudWatchMetrics:
    """Reads the metrics of one load balancer and its target groups from CloudWatch.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
    """

    aws: Aws
    load_balancer_arn: str
    period: int

    def read(self, sides: Sequence[VersionTargets], *, until: dt.datetime) -> tuple[VersionCounts, ...]:
        """Return the answers of each version, by one call.

        A missing metric is 0: CloudWatch gets error counts only if they are not zero.
        """
        queries = {
            f"m{number}_{name.lower()}": self._query(side, name)
            for number, side in enumerate(sides)
            for name in _STATISTICS
        }
        points = self._points(queries, since=min(side.since for side in sides), until=until)
        return tuple(
            _answered(
                {name: points.get(f"m{number}_{name.lower()}", {}) for name in _STATISTICS}, side, self.period
            )
            for number, side in enumerate(sides)
        )

    def traffic(self, *, since: dt.datetime, until: dt.datetime) -> Traffic:
        """Return the requests and errors of the load balancer; on AWS, metrics lag by some minutes."""
        queries = {name.lower(): self._query(None, name) for name in _COUNTED}
        points = self._points(queries, since=since, until=until)
        requests, *errors = (round(sum(points.get(name.lower(), {}).values())) for name in _COUNTED)
        return Traffic(requests=requests, errors=sum(errors))

    def _query(self, side: VersionTargets | None, name: str) -> dict[str, Any]:
        """Return the query of a metric of one version, or of the whole load balancer if `side` is None."""
        places = {"LoadBalancer": self.load_balancer_arn.partition(":loadbalancer/")[2]}
        if side is not None:
            places["TargetGroup"] = side.target_group_arn.rpartition(":")[2]
        metric = {
            "Namespace": _NAMESPACE,
            "MetricName": name,
            "Dimensions": [{"Name": key, "Value": value} for key, value in places.items()],
        }
        return {"Metric": metric, "Period": self.period, "Stat": _STATISTICS.get(name, "Sum")}

    def _points(
        self, queries: Mapping[str, Mapping[str, Any]], *, since: dt.datetime, until: dt.datetime
    ) -> dict[str, dict[dt.datetime, float]]:
        """Return the values of each query id, keyed by the beginning of their period."""
        begin = dt.datetime.fromtimestamp(_floor(since, self.period), dt.UTC)
        request: Any = {
            "MetricDataQueries": [{"Id": name, "MetricStat": stat} for name, stat in queries.items()],
            "StartTime": begin,
            "EndTime": until,
        }
        points: dict[str, dict[dt.datetime, float]] = {}
        while True:
            answer = self.aws.cloudwatch.get_metric_data(**request)
            for result in answer["MetricDataResults"]:
                values = zip(result["Timestamps"], result["Values"], strict=True)
                points.setdefault(result["Id"], {}).update(values)
            if not answer.get("NextToken"):
                return points
            request["NextToken"] = answer["NextToken"]


def _answered(
    points: Mapping[str, Mapping[dt.datetime, float]], side: VersionTargets, period: int
) -> VersionCounts:
    """Return the answers of a version, from the period in which it begins."""
    begin = _floor(side.since, period)
    own = {
        name: {at: value for at, value in values.items() if at.timestamp() >= begin}
        for name, values in points.items()
    }
    requests = round(sum(own[_REQUESTS].values()))
    errors = round(sum(own[_ERRORS].values()) + sum(own[_UNREACHED].values()))
    return VersionCounts(
        requests=requests, errors=min(errors, requests), p99=_median(own[_LATENCY], own[_REQUESTS])
    )


def _median(values: Mapping[dt.datetime, float], weights: Mapping[dt.datetime, float]) -> float | None:
    """Return the median of the periods' percentiles, weighted by requests; None for fewer than two periods.

    CloudWatch gives percentiles per period, and one slow period proves little: a new version is slow for its first users.
    """
    known = sorted((value, weights.get(at, 0.0)) for at, value in values.items() if weights.get(at))
    if len(known) < _FEWEST_PERIODS:
        return None
    *up_to, total = accumulate(weight for _, weight in known)
    return known[sum(each < total / 2 for each in up_to)][0]


def _floor(at: dt.datetime, period: int) -> float:
    return at.timestamp() // period * period


@dataclass(kw_only=True)
class Analyst:
    """Compares the versions of one rollout repeatedly, while it moves forward and has production traffic.

    `comparison` is the latest one, None before the first. A failed comparison is final.
    """

    limits: AnalysisLimits
    ecs: Revisions
    metrics: CloudWatchMetrics
    pace: Pace
    groups: Sequence[str]
    report: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    comparison: AnalysisResult | None = None
    _was_unshifted: bool = False
    _shifted_at: dt.datetime | None = None
    _sides: tuple[VersionTargets, VersionTargets] | None = None
    _looked_at: float = field(default=float("-inf"))
    _has_ended: bool = False
    _failures: int = 0
    _reported: str = ""

    @property
    def summary(self) -> str:
        """The comparison in a few words, "" before the first."""
        last = self.comparison
        return f"analysis {last.verdict}: {shares(last.new, last.old)}" if last is not None else ""

    def look(self, deployment: ServiceDeployment) -> bool:
        """Compare the versions if that is due; return whether the new version failed."""
        if self._is_due(deployment):
            self._looked_at = self.clock()
            self._has_ended = deployment.stage == _LAST_STAGE
            self.comparison = self._compared(deployment)
        return self._has_failed

    @property
    def _has_failed(self) -> bool:
        return self.comparison is not None and self.comparison.verdict == FAILED

    def _is_due(self, deployment: ServiceDeployment) -> bool:
        if not self.limits.is_on or deployment.strategy in ("", ROLLING.upper()):
            return False
        if deployment.status != "IN_PROGRESS" or not deployment.production:
            self._was_unshifted = self._was_unshifted or deployment.production == 0
            return False
        if self._shifted_at is None:
            # If adopted after the shift, its time is unknown. Before it, the new version had no traffic to count.
            self._shifted_at = self.now() if self._was_unshifted else deployment.created_at
        if self._has_ended or self._has_failed:
            return False
        is_last = deployment.stage == _LAST_STAGE
        # A failing call may block the watching of the rollout for some time: retry it with exponential backoff.
        pause = self.pace.look * 2 ** min(self._failures, _MOST_DOUBLINGS)
        return is_last or self.clock() - self._looked_at >= pause

    def _compared(self, deployment: ServiceDeployment) -> AnalysisResult:
        before = self.comparison
        try:
            sides = self._sides = self._sides or self._find_sides(deployment)
            if sides is None:
                return _inconclusive("ECS does not tell in which target group the new version is", before)
            new, old = self.metrics.read(sides, until=self.now())
        except Exception as error:  # noqa: BLE001  (the analysis must not break the watching: ECS continues the rollout)
            self._failures += 1
            problem = f"CloudWatch does not tell how the versions answer: {error_message(error)}"
            self._report_once(f"{problem}; the rollout goes on")
            return _inconclusive(problem, before)
        self._reported, self._failures = "", 0
        judged = judge(new, old, self.limits)
        return AnalysisResult(verdict=judged.verdict, reason=judged.reason, new=new, old=old)

    def _find_sides(self, deployment: ServiceDeployment) -> tuple[VersionTargets, VersionTargets] | None:
        """Return the target groups of the new and the old version, None if ECS does not distinguish them."""
        assert self._shifted_at is not None  # noqa: S101
        green = self.ecs.revision(deployment.target_revision_arn).target_group_arns
        sources = [self.ecs.revision(arn) for arn in deployment.source_revision_arns]
        others = [arn for arn in self.groups if arn not in green]
        if len(green) != 1 or len(others) != 1:
            return None
        # Exclude the answers of an earlier version that used the same target group.
        since = [self._shifted_at - dt.timedelta(seconds=self.pace.baseline)]
        since += [
            each.created_at for each in sources if each.created_at and others[0] in each.target_group_arns
        ]
        return (
            VersionTargets(target_group_arn=green[0], since=self._shifted_at),
            VersionTargets(target_group_arn=others[0], since=min(max(since), self._shifted_at)),
        )

    def _report_once(self, problem: str) -> None:
        if problem != self._reported:
            self.report(problem)
        self._reported = problem


def failure_of(comparison: AnalysisResult | None) -> str:
    """Return in what the new version was worse than the old one, "" if it was not or was not compared."""
    return comparison.reason if comparison is not None and comparison.verdict == FAILED else ""


def _inconclusive(reason: str, before: AnalysisResult | None) -> AnalysisResult:
    new, old = (before.new, before.old) if before else (_NOTHING, _NOTHING)
    return AnalysisResult(verdict=INCONCLUSIVE, reason=reason, new=new, old=old)


def analyst_of(
    session: Session, outputs: verify.Outputs, ecs: Revisions, *, pace: Pace, is_on: bool
) -> Analyst:
    """Return the analyst of a rollout. `is_on` False turns the analysis off."""
    limits = session.environment.release.analysis
    return Analyst(
        limits=replace(limits, is_on=limits.is_on and is_on),
        ecs=ecs,
        metrics=CloudWatchMetrics(aws=session.aws, load_balancer_arn=outputs.alb_arn, period=pace.period),
        pace=pace,
        groups=tuple(dict.fromkeys(outputs.target_group_arns.values())),
        report=session.report,
        now=session.aws.now,
    )


def traffic_since(
    session: Session, outputs: verify.Outputs, since: dt.datetime, *, pace: Pace
) -> Traffic | None:
    """Return the traffic of the environment's load balancer since then; None if CloudWatch fails."""
    metrics = CloudWatchMetrics(aws=session.aws, load_balancer_arn=outputs.alb_arn, period=pace.period)
    try:
        return metrics.traffic(since=since, until=session.aws.now())
    except Exception as error:  # noqa: BLE001  (a figure for the record must not fail a rollout)
        session.report(f"CloudWatch does not tell what came meanwhile: {error_message(error)}")
        return None

"""When a new version is judged to have passed, to have failed, or neither; and from which figures of CloudWatch."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as some

from mclass_tf import analysis, flows, verify
from mclass_tf.analysis import FAILED, INCONCLUSIVE, PASSED, AnalysisLimits, Judgement, judge, lower_bound
from mclass_tf.aws import Aws
from mclass_tf.cli.promote_commands import history_document, history_text
from mclass_tf.cli.release_commands import rollout_document
from mclass_tf.cloud import Cloud
from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import AnalysisFailedError
from mclass_tf.flows.attempt import Attempt
from mclass_tf.flows.deployer.analysis import Analyst, CloudWatchMetrics, Pace, VersionTargets, pace_of
from mclass_tf.flows.deployer.deploy import Deployer, WatchOptions
from mclass_tf.flows.history import PastAttempt
from mclass_tf.ledger import AnalysisResult, Traffic, VersionCounts
from mclass_tf.rollout import Patience, RolloutOutcome, StartedRollout, View
from mclass_tf.service import Ecs, ServiceDeployment, ServiceRevision
from mclass_tf.session import Session
from tests.unit.fake_service import (
    BEGAN,
    GROUP,
    NEW,
    OLD,
    Clock,
    FakeEcs,
    deployment,
    service,
    service_deployment,
    throttled,
)

LIMITS = AnalysisLimits()
MINUTE = BEGAN.replace(second=0)
BEFORE = VersionCounts(requests=9730, errors=0, p99=0.1)
ELB = "arn:aws:elasticloadbalancing:ap-northeast-2:111111111111"
BALANCER = f"{ELB}:loadbalancer/app/mclass/1"
OTHER_GROUP = f"{ELB}:targetgroup/mclass-green/2"


def answered(requests: int, errors: int = 0, p99: float | None = 0.1) -> VersionCounts:
    return VersionCounts(requests=requests, errors=errors, p99=p99)


# The same figures in every run, however busy the machine is.
FIGURES = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@some.composite
def sides(draw: some.DrawFn) -> VersionCounts:
    requests = draw(some.integers(0, 10**6))
    return answered(
        requests, draw(some.integers(0, requests)), draw(some.none() | some.floats(0, 60, width=32))
    )


# ---- the judgement


@pytest.mark.parametrize(
    ("new", "old", "verdict"),
    [
        (answered(512), BEFORE, PASSED),
        (answered(512, 1), BEFORE, PASSED),
        (answered(100), BEFORE, PASSED),
        (answered(99), BEFORE, INCONCLUSIVE),
        (answered(0), BEFORE, INCONCLUSIVE),
        (answered(0), answered(0), INCONCLUSIVE),
        (answered(512, 40), BEFORE, FAILED),
        # of few requests, few errors may be chance; five that failed of as few are none
        (answered(3, 1), BEFORE, INCONCLUSIVE),
        (answered(4, 4), BEFORE, INCONCLUSIVE),
        (answered(5, 5), BEFORE, FAILED),
        (answered(60, 6), BEFORE, FAILED),
        # 1.5 per cent of 1,000 may well be one per cent, of 100,000 it is not
        (answered(1000, 15), BEFORE, PASSED),
        (answered(100_000, 1500), BEFORE, FAILED),
        # no worse than the old version, which does as badly
        (answered(1000, 500), answered(9000, 4500), PASSED),
        (answered(1000, 100), answered(9000, 4500), PASSED),
        # of an old version that was hardly asked only what is certain counts
        (answered(1000, 1000), answered(1, 1), FAILED),
        (answered(1000, 100), answered(0), FAILED),
        (answered(1000), answered(0), PASSED),
        # as slow as it may be, slower, and too little to tell by
        (answered(200, p99=0.6), answered(200, p99=0.3), PASSED),
        (answered(200, p99=0.61), answered(200, p99=0.3), FAILED),
        (answered(200, p99=0.5), answered(200, p99=0.01), PASSED),
        (answered(200, p99=9.0), answered(99, p99=0.01), PASSED),
        (answered(99, p99=9.0), answered(200, p99=0.01), INCONCLUSIVE),
        (answered(200, p99=None), answered(200, p99=0.01), PASSED),
        (answered(200, p99=9.0), answered(200, p99=None), PASSED),
    ],
)
def test_a_verdict_needs_evidence(new: VersionCounts, old: VersionCounts, verdict: str) -> None:
    assert judge(new, old, LIMITS).verdict == verdict


def test_the_limits_are_the_environments() -> None:
    new = answered(1000, 40, p99=2.5)
    slow = answered(1000, p99=2.5)

    assert judge(new, BEFORE, LIMITS).verdict == FAILED
    assert judge(new, BEFORE, replace(LIMITS, max_error_percent=5, max_latency_ratio=30)).verdict == PASSED
    assert judge(slow, BEFORE, replace(LIMITS, max_latency_ratio=20)).verdict == FAILED
    assert judge(slow, BEFORE, replace(LIMITS, latency_floor_seconds=3)).verdict == PASSED
    assert judge(answered(20), BEFORE, replace(LIMITS, min_requests=20)).verdict == PASSED
    assert judge(answered(3, 1), BEFORE, replace(LIMITS, min_requests=3)).verdict == FAILED


@pytest.mark.parametrize(
    ("new", "old", "told"),
    [
        (
            answered(512, 1, 0.12),
            BEFORE,
            "new 0.2 % of 512 requests failed, old 0.0 % of 9,730; 99th percentile: new 0.120 s, old 0.100 s",
        ),
        (
            answered(512, 40),
            BEFORE,
            "new 7.8 % of 512 requests failed, old 0.0 % of 9,730; at most 1 percentage point more is allowed",
        ),
        (
            answered(512, p99=1.9),
            BEFORE,
            "99th percentile: new 1.900 s, old 0.100 s; at most 2 times that is allowed",
        ),
        (
            answered(12, 1),
            BEFORE,
            (
                "too little traffic to judge by (100 requests are needed): "
                "new 8.3 % of 12 requests failed, old 0.0 % of 9,730"
            ),
        ),
        (answered(0), BEFORE, "CloudWatch tells of no requests to the new version"),
        (
            answered(20_000, 1),
            answered(0),
            (
                "new <0.1 % of 20,000 requests failed, old had no requests; "
                "latency not compared: the old version had 0 requests"
            ),
        ),
        (
            answered(200, p99=None),
            BEFORE,
            (
                "new 0.0 % of 200 requests failed, old 0.0 % of 9,730; "
                "latency not compared: not enough data yet"
            ),
        ),
    ],
)
def test_the_reason_has_the_figures(new: VersionCounts, old: VersionCounts, told: str) -> None:
    assert judge(new, old, LIMITS).reason == told


def test_no_traffic_at_all_is_told_so() -> None:
    assert analysis.shares(answered(0), answered(0)) == "new had no requests, old had no requests"


@FIGURES
@given(new=sides(), old=sides())
def test_every_pair_of_figures_has_one_verdict_and_a_reason(new: VersionCounts, old: VersionCounts) -> None:
    found = judge(new, old, LIMITS)

    assert found.verdict in (PASSED, FAILED, INCONCLUSIVE)
    assert found.reason
    assert found.verdict != PASSED or new.requests >= LIMITS.min_requests


@FIGURES
@given(new=sides(), old=sides())
def test_a_version_that_fails_no_more_often_and_is_no_slower_never_fails(
    new: VersionCounts, old: VersionCounts
) -> None:
    assume(old.requests >= LIMITS.min_requests)
    assume(new.errors * old.requests <= old.errors * new.requests)
    assume(new.p99 is None or old.p99 is None or new.p99 <= old.p99)

    assert judge(new, old, LIMITS).verdict != FAILED


@FIGURES
@given(new=sides(), old=sides(), more=some.integers(0, 1000))
def test_more_errors_never_help(new: VersionCounts, old: VersionCounts, more: int) -> None:
    worse = replace(new, errors=min(new.errors + more, new.requests))

    assert judge(new, old, LIMITS).verdict != FAILED or judge(worse, old, LIMITS).verdict == FAILED


@FIGURES
@given(errors=some.integers(0, 10**6), requests=some.integers(1, 10**6))
def test_the_lower_bound_is_below_the_share_and_near_it_with_many_requests(
    errors: int, requests: int
) -> None:
    assume(errors <= requests)

    low, lower = lower_bound(errors, requests), lower_bound(errors * 100, requests * 100)

    assert 0 <= low <= errors / requests
    assert low <= lower + 1e-12


@pytest.mark.parametrize(
    ("errors", "requests", "bound"),
    # Of requests that all fail it is n / (n + z²).
    [(0, 10, 0.0), (1, 3, 0.0615), (5, 50, 0.0435), (10, 10, 0.7225), (50, 100, 0.4038), (0, 0, 0.0)],
)
def test_the_lower_bound_is_wilsons(errors: int, requests: int, bound: float) -> None:
    assert lower_bound(errors, requests) == pytest.approx(bound, abs=5e-5)


# ---- the figures


@dataclass
class FakeCloudWatch:
    """Has a value of each metric of each group by the minute after `at`; `pages`: so many values come with one answer."""

    values: dict[tuple[str, str], dict[int, float]] = field(default_factory=dict)
    pages: int = 1000
    requests: list[Mapping[str, Any]] = field(default_factory=list)
    error: Exception | None = None
    at: dt.datetime = MINUTE

    def get_metric_data(self, **request: Any) -> Mapping[str, Any]:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        found = [(query["Id"], at, value) for query in self._queries(request) for at, value in query["found"]]
        begin = int(request.get("NextToken", 0))
        page = found[begin : begin + self.pages]
        more = {"NextToken": str(begin + self.pages)} if begin + self.pages < len(found) else {}
        results = [
            {
                "Id": query["Id"],
                "Timestamps": [at for name, at, _ in page if name == query["Id"]],
                "Values": [value for name, _, value in page if name == query["Id"]],
            }
            for query in request["MetricDataQueries"]
        ]
        return {"MetricDataResults": results, **more}

    def _queries(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        queries = []
        for query in request["MetricDataQueries"]:
            metric = query["MetricStat"]["Metric"]
            places = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
            assert places["LoadBalancer"] == "app/mclass/1"
            values = self.values.get((places.get("TargetGroup", ""), metric["MetricName"]), {})
            found = [(self.at + dt.timedelta(minutes=number), value) for number, value in values.items()]
            inside = [each for each in found if request["StartTime"] <= each[0] < request["EndTime"]]
            queries.append({"Id": query["Id"], "found": inside})
        return queries


def minute(number: int) -> dt.datetime:
    """Return the beginning of a minute; that of 0 is the one in which the deployment began."""
    return MINUTE + dt.timedelta(minutes=number)


def metrics(cloudwatch: FakeCloudWatch, *, period: int = 60) -> CloudWatchMetrics:
    aws = cast("Aws", SimpleNamespace(cloudwatch=cloudwatch))
    return CloudWatchMetrics(aws=aws, load_balancer_arn=BALANCER, period=period)


def told(group: str = "targetgroup/mclass-blue/1", **values: dict[int, float]) -> FakeCloudWatch:
    return FakeCloudWatch({(group, name): found for name, found in values.items()})


def test_a_side_is_what_cloudwatch_has_of_its_group_since_the_minute_of_its_beginning() -> None:
    cloudwatch = told(
        RequestCount={-1: 1000, 0: 10, 1: 30},
        HTTPCode_Target_5XX_Count={-1: 500, 1: 2},
        TargetConnectionErrorCount={1: 1},
        TargetResponseTime={-1: 9, 0: 0.1, 1: 0.4},
    )

    (found,) = metrics(cloudwatch).read(
        [VersionTargets(target_group_arn=GROUP, since=BEGAN)], until=minute(2)
    )

    assert (found.requests, found.errors) == (40, 3)
    assert found.p99 == pytest.approx(0.4)
    assert len(cloudwatch.requests) == 1


def test_the_traffic_is_the_load_balancers_with_errors_of_its_own() -> None:
    cloudwatch = told(RequestCount={0: 7})
    cloudwatch.values |= {
        ("", "RequestCount"): {-1: 1000, 0: 40, 1: 60},
        ("", "HTTPCode_Target_5XX_Count"): {1: 2},
        ("", "HTTPCode_ELB_5XX_Count"): {0: 3},
    }

    assert metrics(cloudwatch).traffic(since=BEGAN, until=minute(2)) == Traffic(requests=100, errors=5)


@pytest.mark.parametrize(
    ("requests", "times", "p99"),
    [
        ({0: 10, 1: 30}, {0: 0.1, 1: 0.4}, 0.4),
        ({0: 20, 1: 20}, {0: 9, 1: 0.4}, 0.4),
        ({0: 20, 1: 20, 2: 20}, {0: 9, 1: 0.4, 2: 0.3}, 0.4),
        ({0: 20, 1: 20, 2: 20}, {0: 9, 1: 8, 2: 0.3}, 8),
        # one period is no evidence, nor is one without requests
        ({0: 40}, {0: 9}, None),
        ({0: 40}, {0: 9, 1: 0.1}, None),
        ({}, {}, None),
    ],
)
def test_the_percentile_is_the_median_of_the_periods_by_their_requests(
    requests: dict[int, float], times: dict[int, float], p99: float | None
) -> None:
    cloudwatch = told(RequestCount=requests, TargetResponseTime=times)

    (found,) = metrics(cloudwatch).read(
        [VersionTargets(target_group_arn=GROUP, since=BEGAN)], until=minute(5)
    )

    assert found.p99 == p99


def test_both_sides_are_read_with_one_call_and_each_has_its_own_beginning() -> None:
    cloudwatch = told(RequestCount=dict.fromkeys(range(-20, 3), 1.0))
    cloudwatch.values["targetgroup/mclass-green/2", "RequestCount"] = dict.fromkeys(range(-20, 3), 1.0)
    new = VersionTargets(target_group_arn=OTHER_GROUP, since=BEGAN)
    old = VersionTargets(target_group_arn=GROUP, since=BEGAN - dt.timedelta(minutes=15))

    after, before = metrics(cloudwatch).read([new, old], until=minute(3))

    assert (after.requests, before.requests) == (3, 18)
    assert len(cloudwatch.requests) == 1


def test_what_comes_in_pages_is_read_whole() -> None:
    cloudwatch = told(RequestCount=dict.fromkeys(range(7), 1.0))
    cloudwatch.pages = 3

    (found,) = metrics(cloudwatch).read(
        [VersionTargets(target_group_arn=GROUP, since=BEGAN)], until=minute(10)
    )

    assert found.requests == 7


def test_a_group_of_which_nothing_is_told_has_answered_nothing() -> None:
    (found,) = metrics(FakeCloudWatch()).read(
        [VersionTargets(target_group_arn=GROUP, since=BEGAN)], until=minute(1)
    )

    assert found == VersionCounts(requests=0, errors=0, p99=None)


def test_a_request_fails_once_however_often_its_connection_failed() -> None:
    cloudwatch = told(RequestCount={0: 5}, TargetConnectionErrorCount={0: 9})

    (found,) = metrics(cloudwatch).read(
        [VersionTargets(target_group_arn=GROUP, since=BEGAN)], until=minute(1)
    )

    assert found.errors == 5


# ---- the looks


@dataclass
class Seen:
    """An analyst of a canary, and what it lives on: new tasks in the green group, old ones in the blue."""

    cloudwatch: FakeCloudWatch
    clock: Clock = field(default_factory=Clock)
    revisions: dict[str, ServiceRevision] = field(
        default_factory=lambda: {
            "revision/own": ServiceRevision(task_definition_arn="new", target_group_arns=(OTHER_GROUP,)),
            "revision/old": ServiceRevision(task_definition_arn="old", target_group_arns=(GROUP,)),
        }
    )
    reports: list[str] = field(default_factory=list)
    analyst: Analyst = field(init=False)

    def __post_init__(self) -> None:
        self.analyst = Analyst(
            limits=LIMITS,
            ecs=self,
            metrics=metrics(self.cloudwatch),
            pace=Pace(),
            groups=(GROUP, OTHER_GROUP),
            report=self.reports.append,
            clock=self.clock,
            now=self.now,
        )

    def now(self) -> dt.datetime:
        return BEGAN + dt.timedelta(seconds=self.clock.now - 1000)

    def revision(self, arn: str, /) -> ServiceRevision:
        return self.revisions[arn]

    def look(self, production: float | None, *, after: float = 60, **changes: Any) -> bool:
        """Look at the deployment so many seconds after the last time."""
        self.clock.wait(after)
        return self.analyst.look(canary(production, **changes))

    @property
    def verdict(self) -> str:
        found = self.analyst.comparison
        return "" if found is None else found.verdict


def canary(production: float | None, **changes: Any) -> ServiceDeployment:
    given: dict[str, Any] = {
        "production": production,
        "stage": "PRODUCTION_TRAFFIC_SHIFT",
        "strategy": "CANARY",
        "source_revision_arns": ("revision/old",),
    }
    return replace(service_deployment(), **{**given, **changes})


def traffic(**new: dict[int, float]) -> FakeCloudWatch:
    """Return what CloudWatch has where the old version answers 1,000 requests a minute well, in all minutes."""
    made = told(RequestCount=dict.fromkeys(range(-30, 30), 1000.0))
    made.values |= {("targetgroup/mclass-green/2", name): values for name, values in new.items()}
    return made


def test_a_version_that_does_well_passes() -> None:
    seen = Seen(traffic(RequestCount={2: 200}))

    assert not seen.look(0)
    assert seen.analyst.comparison is None
    assert not seen.look(5)
    assert not seen.look(5)

    found = seen.analyst.comparison
    assert found is not None
    assert found.verdict == PASSED
    assert (found.new.requests, found.old.requests) == (200, 17_000)
    assert seen.analyst.summary == "analysis passed: new 0.0 % of 200 requests failed, old 0.0 % of 17,000"


def test_a_version_that_does_badly_fails_for_good_and_is_not_asked_about_again() -> None:
    seen = Seen(traffic(RequestCount={2: 200}, HTTPCode_Target_5XX_Count={2: 20}))
    seen.look(0)

    assert seen.look(5)
    calls = len(seen.cloudwatch.requests)

    assert seen.look(5)
    assert seen.look(5, status="ROLLBACK_IN_PROGRESS")
    assert len(seen.cloudwatch.requests) == calls
    assert seen.verdict == FAILED


def test_what_was_answered_before_production_traffic_came_does_not_count() -> None:
    seen = Seen(traffic(RequestCount={0: 200, 1: 50}, HTTPCode_Target_5XX_Count={0: 200}))
    seen.look(0)
    seen.look(0)

    assert not seen.look(5)

    assert seen.verdict == INCONCLUSIVE


def test_a_rollout_that_is_taken_up_is_judged_from_its_beginning() -> None:
    seen = Seen(traffic(RequestCount={0: 200}, HTTPCode_Target_5XX_Count={0: 200}))

    assert seen.look(5, after=600)


def test_the_old_versions_figures_begin_no_earlier_than_itself() -> None:
    seen = Seen(traffic(RequestCount={2: 200}))
    seen.revisions["revision/old"] = replace(seen.revisions["revision/old"], created_at=minute(-3))
    seen.look(0)
    seen.look(5)

    found = seen.analyst.comparison
    assert found is not None
    assert found.old.requests == 6_000


def test_it_looks_no_more_often_than_it_is_told_to_but_once_more_in_the_end() -> None:
    seen = Seen(traffic(RequestCount={0: 200}))
    seen.look(0)
    for _ in range(31):
        seen.look(100, after=1)
    assert len(seen.cloudwatch.requests) == 3

    for _ in range(31):
        seen.look(100, after=1, stage="CLEAN_UP")
    assert len(seen.cloudwatch.requests) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "ROLLING"},
        {"strategy": ""},
        {"production": None},
        {"production": 0.0},
        {"status": "ROLLBACK_IN_PROGRESS"},
        {"status": "SUCCESSFUL"},
    ],
)
def test_where_no_traffic_is_shifted_nothing_is_compared(changes: dict[str, Any]) -> None:
    seen = Seen(traffic(RequestCount={0: 200}, HTTPCode_Target_5XX_Count={0: 200}))

    assert not seen.look(**{"production": 100.0, **changes})
    assert seen.analyst.comparison is None
    assert seen.cloudwatch.requests == []


def test_what_is_switched_off_is_not_compared() -> None:
    seen = Seen(traffic(RequestCount={0: 200}))
    seen.analyst.limits = replace(LIMITS, is_on=False)

    assert not seen.look(100)
    assert seen.cloudwatch.requests == []


def test_a_cloudwatch_that_does_not_answer_is_told_once_and_ends_nothing() -> None:
    seen = Seen(traffic(RequestCount={0: 5, 1: 5, 2: 5}))
    seen.look(0)
    seen.look(5)
    seen.cloudwatch.error = throttled("GetMetricData")

    assert not seen.look(5)
    assert not seen.look(5)

    found = seen.analyst.comparison
    assert found is not None
    assert found.verdict == INCONCLUSIVE
    assert "Rate exceeded" in found.reason
    assert found.new.requests > 0, "as far as it was read"
    assert len(seen.reports) == 1
    assert seen.reports[0].endswith("the rollout goes on")

    seen.cloudwatch.error = None
    seen.look(5)
    assert "Rate exceeded" not in (seen.analyst.comparison or found).reason


def test_a_cloudwatch_that_does_not_answer_is_asked_ever_more_rarely() -> None:
    seen = Seen(traffic(RequestCount={0: 5}))
    seen.cloudwatch.error = throttled("GetMetricData")
    seen.look(0)
    asked: list[float] = []
    for _ in range(500):
        before = len(seen.cloudwatch.requests)
        seen.look(5, after=1)
        asked += [seen.clock.now] * (len(seen.cloudwatch.requests) - before)

    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses == [30, 60, 120, 120, 120]


def fewer(revisions: dict[str, ServiceRevision]) -> None:
    del revisions["revision/own"]


def untold(revisions: dict[str, ServiceRevision]) -> None:
    revisions["revision/own"] = ServiceRevision(task_definition_arn="new", target_group_arns=())


@pytest.mark.parametrize("change", [fewer, untold])
def test_where_ecs_does_not_tell_the_groups_it_is_inconclusive(
    change: Callable[[dict[str, ServiceRevision]], None],
) -> None:
    seen = Seen(traffic(RequestCount={0: 200}, HTTPCode_Target_5XX_Count={0: 200}))
    change(seen.revisions)

    assert not seen.look(100)
    assert seen.verdict == INCONCLUSIVE


# ---- the pace


@pytest.mark.parametrize(
    ("pace", "look", "period", "baseline"),
    [
        (Pace(), 15, 60, 900),
        (Pace(speed=1, is_local=True), 5, 60, 900),
        (Pace(speed=10, is_local=True), 1.5, 5, 90),
        (Pace(speed=60, is_local=True), 1, 1, 15),
        (Pace(speed=1000, is_local=True), 1, 1, 0.9),
    ],
)
def test_the_pace_is_that_of_the_clock(pace: Pace, look: float, period: int, baseline: float) -> None:
    assert (pace.look, pace.period, pace.baseline) == (look, period, baseline)


def test_on_aws_nobody_is_asked_for_the_clock() -> None:
    assert pace_of(Cloud(kind="aws", identity="aws", endpoint_url=None)) == Pace()


def test_a_local_aws_that_does_not_tell_its_clock_goes_as_aws_does() -> None:
    gone = Cloud(kind="local", identity="local x", endpoint_url="http://127.0.0.1:1")

    assert pace_of(gone) == Pace(is_local=True)


def test_a_judgement_is_a_verdict_and_a_reason() -> None:
    assert judge(answered(100), BEFORE, LIMITS) == Judgement(
        verdict=PASSED,
        reason="new 0.0 % of 100 requests failed, old 0.0 % of 9,730; "
        "99th percentile: new 0.100 s, old 0.100 s",
    )


# ---- what comes of it


class Canary(FakeEcs):
    """A canary at 5 per cent, which ECS rolls back when it is told to, and ends well else."""

    def __init__(self, *, now: dt.datetime) -> None:
        super().__init__(service(deployment(NEW, status="PRIMARY"), deployment(OLD)))
        self.own = replace(canary(5.0), created_at=now - dt.timedelta(minutes=1))
        self.looks = 0

    def revision(self, arn: str, /) -> ServiceRevision:
        is_new = arn == "revision/own"
        return ServiceRevision(
            task_definition_arn=NEW if is_new else OLD,
            target_group_arns=(OTHER_GROUP if is_new else GROUP,),
        )

    def service_deployment(self, arn: str, /) -> ServiceDeployment:
        self.looks += 1
        if any(call[0] == "roll back" for call in self.calls):
            self.becomes("ROLLBACK_SUCCESSFUL")
        elif self.looks > 2:
            self.becomes("SUCCESSFUL")
        return super().service_deployment(arn)


@dataclass
class Followed:
    """A rollout of a version of whose 200 requests so many fail, followed to its end."""

    errors: int
    is_compared: bool = True
    shown: list[View] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        now = dt.datetime.now(dt.UTC)
        at = now.replace(second=0, microsecond=0)
        cloudwatch = FakeCloudWatch(at=at)
        for group in ("targetgroup/mclass-blue/1", "targetgroup/mclass-green/2"):
            cloudwatch.values[group, "RequestCount"] = {0: 200}
        cloudwatch.values["targetgroup/mclass-green/2", "HTTPCode_Target_5XX_Count"] = {0: self.errors}
        self.ecs = Canary(now=now)
        self.attempt = Attempt(record="s3://record/", digest="sha256:1", revision="1", started_at=now)
        session = SimpleNamespace(
            environment=SimpleNamespace(name="dev", release=ReleaseSettings()),
            cloud=Cloud(kind="aws", identity="aws", endpoint_url=None),
            aws=SimpleNamespace(cloudwatch=cloudwatch, now=lambda: dt.datetime.now(dt.UTC)),
            report=self.reports.append,
        )
        outputs = SimpleNamespace(
            alb_arn=BALANCER,
            target_group_arns={"blue": GROUP, "green": OTHER_GROUP},
            log_group_name="/ecs/mclass-task",
            container_name="mclass-server",
        )
        self.deployer = Deployer(
            session=cast("Session", session),
            outputs=cast("verify.Outputs", outputs),
            ecs=cast("Ecs", self.ecs),
            patience=Patience(report=self.reports.append),
        )
        self.watching = WatchOptions(
            show=self.shown.append, on_interrupt=flows.detach_on_interrupt, stall_after=60.0
        )
        started = StartedRollout(
            service_deployment_arn=self.ecs.own.arn,
            task_definition_arn=NEW,
            seen=frozenset(),
            at=time.monotonic(),
        )
        self.end = self.deployer.follow(
            started, self.watching, self.attempt, reset_to=None, is_compared=self.is_compared
        )

    def require_success(self) -> None:
        self.deployer.require_success(
            self.end, self.watching, task_definition_arn=NEW, reset_to=None, attempt=self.attempt
        )


def test_a_version_that_fails_is_taken_back_once_and_the_error_has_the_figures() -> None:
    done = Followed(errors=40)

    assert done.end.outcome is RolloutOutcome.ROLLED_BACK
    assert done.ecs.calls == [("roll back", done.ecs.own.arn)]
    with pytest.raises(AnalysisFailedError) as caught:
        done.require_success()
    done.attempt.failed(caught.value)

    error = caught.value
    assert error.exit_code == 6
    assert "worse than the old one: new 20.0 % of 200 requests failed, old 0.0 % of 200" in error.cause
    assert error.outcome == "rolled back"
    assert error.analysis is not None
    assert error.analysis["verdict"] == FAILED
    assert error.analysis["new"] == {"requests": 200, "errors": 40, "p99": None}
    assert [report for report in done.reports if "ECS must roll back" in report]


def test_a_version_that_does_well_is_not_and_how_it_did_is_shown_and_noted() -> None:
    done = Followed(errors=0)

    assert done.end.outcome is RolloutOutcome.SUCCEEDED
    assert done.ecs.calls == []
    done.require_success()
    assert done.attempt.analysis is not None
    assert done.attempt.analysis.verdict == PASSED
    assert done.shown[-1].analysis.startswith("analysis passed: new 0.0 % of 200 requests failed")


def test_going_back_is_not_compared_whatever_runs_does_badly() -> None:
    done = Followed(errors=200, is_compared=False)

    assert done.end.outcome is RolloutOutcome.SUCCEEDED
    assert done.attempt.analysis is None


def told_of(*, cause: str = "", analysis: AnalysisResult | None = None) -> PastAttempt:
    """Return an attempt as `history` has it."""
    return PastAttempt(
        at=BEGAN,
        kind="release",
        digest="sha256:1",
        revision="1",
        outcome="released",
        cause=cause,
        is_verified=True,
        who="me",
        seconds=1.0,
        task_definition_arn=NEW,
        promoted_from=None,
        record="s3://record/",
        analysis=analysis,
    )


def test_history_tells_the_analysis_and_no_figures_twice() -> None:
    compared = AnalysisResult(verdict=PASSED, reason="all well", new=answered(512), old=BEFORE)

    assert "    analysis passed: all well" in history_text("dev", [told_of(analysis=compared)])
    assert "analysis" not in history_text("dev", [told_of(cause="worse: all well", analysis=compared)])
    assert "analysis" not in history_text("dev", [told_of()])


def test_the_documents_have_the_analysis_or_null() -> None:
    compared = AnalysisResult(verdict=PASSED, reason="all well", new=answered(512), old=answered(9, 1, None))
    error = AnalysisFailedError("what", cause="why")

    (with_it, without) = history_document("dev", [told_of(analysis=compared), told_of()])["attempts"]

    assert with_it["analysis"] == {
        "verdict": "passed",
        "reason": "all well",
        "new": {"requests": 512, "errors": 0, "p99": 0.1},
        "old": {"requests": 9, "errors": 1, "p99": None},
    }
    assert without["analysis"] is None
    assert rollout_document("dev", error)["analysis"] is None
    error.analysis = with_it["analysis"]
    assert rollout_document("dev", error)["analysis"] == with_it["analysis"]

"""The metrics of load balancers, AWS/ApplicationELB: traffic and healthy targets.

The analysis of releases and alarms read them. Only host counts have the dimension AvailabilityZone, the zone of the targets: in the
local AWS, one process is the node of every zone.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.elbv2.models import elbv2_backends

from mclass_tf.local.aws.cloudwatch.metrics import Metric, Stats, dimensions
from mclass_tf.local.aws.elbv2 import snapshot
from mclass_tf.local.aws.elbv2.snapshot import OwnedLoadBalancer
from mclass_tf.local.balancer.report import Metrics

NAMESPACE = "AWS/ApplicationELB"

_REPORT_DELAY = 3  # seconds after which all traffic of a second has been reported
_RESPONSE_TIME = "TargetResponseTime"
# AWS has these metrics for each target group, too, and the others only for the load balancer.
_TARGET_GROUP_METRICS = (
    "HTTPCode_Target_",
    "RequestCount",
    "TargetConnectionErrorCount",
    "TargetTLSNegotiationErrorCount",
)


class TrafficMetrics:
    """A part of the runtime. Once a second, it records the host counts, and zeros for the counts that AWS always reports."""

    def __init__(self, *, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self._exclusive = exclusive

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            with self._exclusive():
                record_hosts(now=int(time.time()))


def take(report: Metrics) -> None:
    """Record the traffic of one second. Call it under the API lock."""
    account_id, region = _owner(report.load_balancer_arn)
    add = _Recorder(account_id, region)
    load_balancer, group = _suffix(report.load_balancer_arn), report.target_group_arn
    scopes: list[Mapping[str, str]] = [{"LoadBalancer": load_balancer}]
    if group is not None:
        scopes.append({"LoadBalancer": load_balancer, "TargetGroup": _suffix(group)})
    for name, count in report.counts.items():
        stats = Stats()
        stats.add(1.0, times=count)
        for scope in scopes if name.startswith(_TARGET_GROUP_METRICS) else scopes[:1]:
            add(name, scope, at=report.at, stats=stats, unit="Count")
    if report.response_times:
        stats = Stats()
        for seconds in report.response_times:
            stats.add(seconds)
        for scope in scopes:
            add(_RESPONSE_TIME, scope, at=report.at, stats=stats, unit="Seconds")
    if group is not None and report.counts.get("RequestCount"):
        _record_per_target(add, report, group)


def _record_per_target(add: _Recorder, report: Metrics, group: str) -> None:
    """Record RequestCountPerTarget: its Sum is the requests divided by the number of healthy targets."""
    backend = elbv2_backends[add.account_id][add.region]
    if group not in backend.target_groups:
        return
    states = Counter(entry.state for entry in backend.target_health(group))
    hosts = states["healthy"] or sum(states.values()) - states["draining"]
    stats = Stats()
    stats.add(report.counts["RequestCount"] / max(hosts, 1))
    for scope in _target_group_scopes(_suffix(report.load_balancer_arn), _suffix(group)):
        add("RequestCountPerTarget", scope, at=report.at, stats=stats, unit="Count")


def record_hosts(*, now: int) -> None:
    """Record the healthy and unhealthy hosts, and zeros for request counts without a report. Call it under the API lock."""
    for owned in snapshot.load_balancers():
        add = _Recorder(owned.account_id, owned.region)
        load_balancer = _suffix(owned.load_balancer.arn)
        add.zero("RequestCount", {"LoadBalancer": load_balancer}, at=now - _REPORT_DELAY)
        for group in owned.backend.target_groups.values():
            if owned.load_balancer.arn not in group.load_balancer_arns:
                continue
            for scope in _target_group_scopes(load_balancer, _suffix(group.arn)):
                add.zero("RequestCountPerTarget", scope, at=now - _REPORT_DELAY)
            for scope, healthy, unhealthy in _hosts(owned, group):
                add("HealthyHostCount", scope, at=now, stats=_one(healthy), unit="Count")
                add("UnHealthyHostCount", scope, at=now, stats=_one(unhealthy), unit="Count")


def _hosts(owned: OwnedLoadBalancer, group: Any) -> Iterator[tuple[Mapping[str, str], int, int]]:
    """Yield dimensions, healthy and unhealthy hosts, for the whole group and for each zone."""
    scope = {"LoadBalancer": _suffix(owned.load_balancer.arn), "TargetGroup": _suffix(group.arn)}
    zones: dict[str, Counter[str]] = {
        subnet.availability_zone: Counter() for subnet in owned.load_balancer.subnets
    }
    for entry in owned.backend.target_health(group.arn):
        zone = owned.backend.zone_of(group, entry.ip)
        zones.setdefault(zone, Counter())[entry.state] += 1
    total = sum(zones.values(), Counter())
    yield scope, total["healthy"], total["unhealthy"]
    for zone, states in zones.items():
        yield {**scope, "AvailabilityZone": zone}, states["healthy"], states["unhealthy"]


def _target_group_scopes(load_balancer: str, group: str) -> tuple[Mapping[str, str], ...]:
    return {"TargetGroup": group}, {"LoadBalancer": load_balancer, "TargetGroup": group}


class _Recorder:
    """Records metrics of an account and region."""

    def __init__(self, account_id: str, region: str) -> None:
        self.account_id = account_id
        self.region = region
        self._metrics = cloudwatch_backends[account_id][region].metrics

    def __call__(self, name: str, scope: Mapping[str, str], *, at: float, stats: Stats, unit: str) -> None:
        metric = Metric(namespace=NAMESPACE, name=name, dimensions=dimensions(scope))
        self._metrics.add(metric, at=at, stats=stats, unit=unit)

    def zero(self, name: str, scope: Mapping[str, str], *, at: int) -> None:
        """Record 0 for a second without other data."""
        metric = Metric(namespace=NAMESPACE, name=name, dimensions=dimensions(scope))
        if not any(series.has(at) for series in self._metrics.find(metric)):
            self._metrics.add(metric, at=at, stats=_one(0), unit="Count")


def _one(value: float) -> Stats:
    stats = Stats()
    stats.add(value)
    return stats


def _suffix(arn: str) -> str:
    """Return the value of the dimension: app/NAME/ID of a load balancer, targetgroup/NAME/ID of a target group."""
    return arn.rsplit(":", maxsplit=1)[-1].removeprefix("loadbalancer/")


def _owner(arn: str) -> tuple[str, str]:
    parts = arn.split(":")
    return parts[4], parts[3]

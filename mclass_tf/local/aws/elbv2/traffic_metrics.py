"""The metrics of load balancers, AWS/ApplicationELB: what passed, and which targets are healthy.

The analysis of releases and alarms read them. Of the dimensions that AWS has, AvailabilityZone stands only where the zone is that of a
target: here one process is the node of every zone.
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
from mclass_tf.local.aws.elbv2.snapshot import Owned
from mclass_tf.local.balancer.report import Metrics

NAMESPACE = "AWS/ApplicationELB"

_ALL_TOLD = 3  # seconds after which nothing more comes of a second
_RESPONSE_TIME = "TargetResponseTime"
# Of these AWS has one series for each target group; of the others, which never reached one, the load balancer's alone.
_OF_TARGETS = (
    "HTTPCode_Target_",
    "RequestCount",
    "TargetConnectionErrorCount",
    "TargetTLSNegotiationErrorCount",
)


class TrafficMetrics:
    """A part of the runtime: once a second, the hosts, and zeros for the counts that AWS always reports."""

    def __init__(self, *, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self._exclusive = exclusive

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            with self._exclusive():
                tell_hosts(now=int(time.time()))


def take(report: Metrics) -> None:
    """Keep what passed in a second. Call it under the lock of the calls."""
    account_id, region = _owner(report.load_balancer_arn)
    add = _Adder(account_id, region)
    load_balancer, group = _suffix(report.load_balancer_arn), report.target_group_arn
    places: list[Mapping[str, str]] = [{"LoadBalancer": load_balancer}]
    if group is not None:
        places.append({"LoadBalancer": load_balancer, "TargetGroup": _suffix(group)})
    for name, count in report.counts.items():
        stats = Stats()
        stats.add(1.0, times=count)
        for place in places if name.startswith(_OF_TARGETS) else places[:1]:
            add(name, place, at=report.at, stats=stats, unit="Count")
    if report.response_times:
        stats = Stats()
        for seconds in report.response_times:
            stats.add(seconds)
        for place in places:
            add(_RESPONSE_TIME, place, at=report.at, stats=stats, unit="Seconds")
    if group is not None and report.counts.get("RequestCount"):
        _record_per_target(add, report, group)


def _record_per_target(add: _Adder, report: Metrics, group: str) -> None:
    """Record RequestCountPerTarget: its Sum is the requests divided by the number of healthy targets."""
    backend = elbv2_backends[add.account_id][add.region]
    if group not in backend.target_groups:
        return
    states = Counter(entry.state for entry in backend.target_health(group))
    hosts = states["healthy"] or sum(states.values()) - states["draining"]
    stats = Stats()
    stats.add(report.counts["RequestCount"] / max(hosts, 1))
    for place in _of_group(_suffix(report.load_balancer_arn), _suffix(group)):
        add("RequestCountPerTarget", place, at=report.at, stats=stats, unit="Count")


def tell_hosts(*, now: int) -> None:
    """Tell how many targets are healthy now, and of which counts nothing came. Call it under the lock of the calls."""
    for owned in snapshot.load_balancers():
        add = _Adder(owned.account_id, owned.region)
        load_balancer = _suffix(owned.load_balancer.arn)
        add.zero("RequestCount", {"LoadBalancer": load_balancer}, at=now - _ALL_TOLD)
        for group in owned.backend.target_groups.values():
            if owned.load_balancer.arn not in group.load_balancer_arns:
                continue
            for place in _of_group(load_balancer, _suffix(group.arn)):
                add.zero("RequestCountPerTarget", place, at=now - _ALL_TOLD)
            for place, healthy, unhealthy in _hosts(owned, group):
                add("HealthyHostCount", place, at=now, stats=_one(healthy), unit="Count")
                add("UnHealthyHostCount", place, at=now, stats=_one(unhealthy), unit="Count")


def _hosts(owned: Owned, group: Any) -> Iterator[tuple[Mapping[str, str], int, int]]:
    """By the load balancer's zones too."""
    place = {"LoadBalancer": _suffix(owned.load_balancer.arn), "TargetGroup": _suffix(group.arn)}
    zones: dict[str, Counter[str]] = {
        subnet.availability_zone: Counter() for subnet in owned.load_balancer.subnets
    }
    for entry in owned.backend.target_health(group.arn):
        zone = owned.backend.zone_of(group, entry.ip)
        zones.setdefault(zone, Counter())[entry.state] += 1
    yield place, *_counted(sum(zones.values(), Counter()))
    for zone, states in zones.items():
        yield {**place, "AvailabilityZone": zone}, *_counted(states)


def _counted(states: Counter[str]) -> tuple[int, int]:
    return states["healthy"], states["unhealthy"]


def _of_group(load_balancer: str, group: str) -> tuple[Mapping[str, str], ...]:
    return {"TargetGroup": group}, {"LoadBalancer": load_balancer, "TargetGroup": group}


class _Adder:
    """Adds to the metrics of an account and region."""

    def __init__(self, account_id: str, region: str) -> None:
        self.account_id = account_id
        self.region = region
        self._metrics = cloudwatch_backends[account_id][region].metrics

    def __call__(self, name: str, place: Mapping[str, str], *, at: float, stats: Stats, unit: str) -> None:
        metric = Metric(namespace=NAMESPACE, name=name, dimensions=dimensions(place))
        self._metrics.add(metric, at=at, stats=stats, unit=unit)

    def zero(self, name: str, place: Mapping[str, str], *, at: int) -> None:
        """Report 0 for a second for which nothing else was reported."""
        metric = Metric(namespace=NAMESPACE, name=name, dimensions=dimensions(place))
        series = self._metrics.find(metric)
        if series is None or not series.has(at):
            self._metrics.add(metric, at=at, stats=_one(0), unit="Count")


def _one(value: float) -> Stats:
    stats = Stats()
    stats.add(value)
    return stats


def _suffix(arn: str) -> str:
    """As CloudWatch names a load balancer, app/NAME/ID, or a target group, targetgroup/NAME/ID."""
    return arn.rsplit(":", maxsplit=1)[-1].removeprefix("loadbalancer/")


def _owner(arn: str) -> tuple[str, str]:
    parts = arn.split(":")
    return parts[4], parts[3]

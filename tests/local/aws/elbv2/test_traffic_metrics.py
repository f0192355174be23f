"""The metrics of load balancers and services, from the reports of the local AWS's parts."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from mclass_tf.local.aws import service_metrics
from mclass_tf.local.aws.ecs.model.task import Launch, Task
from mclass_tf.local.aws.elbv2 import traffic_metrics
from mclass_tf.local.aws.service_metrics import ServiceMetrics, UsageSample
from mclass_tf.local.balancer.report import Health, Metrics
from mclass_tf.local.containers.driver import Usage
from tests.local import elb_world, in_process
from tests.local.elb_world import ElbWorld

_NOW = 60 * (int(time.time()) // 60)


@pytest.fixture
def world() -> Iterator[ElbWorld]:
    made = elb_world.make()
    made.forward()
    yield made
    made.detach_all()


def _suffix(arn: str) -> str:
    return arn.rsplit(":", maxsplit=1)[-1].removeprefix("loadbalancer/")


def _scopes(world: ElbWorld) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    load_balancer = {"LoadBalancer": _suffix(world.arn)}
    group = {"TargetGroup": _suffix(world.group)}
    return load_balancer, group, {**load_balancer, **group}


def _statistic(
    account_id: str,
    name: str,
    scope: Mapping[str, str],
    statistic: str = "Sum",
    *,
    namespace: str = "AWS/ApplicationELB",
) -> float | None:
    """Return the statistic of the minute, or None without data."""
    extended = statistic.startswith("p")
    start = dt.datetime.fromtimestamp(_NOW, dt.UTC)
    answer = in_process.client(account_id, "cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in scope.items()],
        StartTime=start,
        EndTime=start + dt.timedelta(minutes=1),
        Period=60,
        **{"ExtendedStatistics" if extended else "Statistics": [statistic]},
    )
    points = answer["Datapoints"]
    if not points:
        return None
    return float(points[0]["ExtendedStatistics"][statistic] if extended else points[0][statistic])


def _pass(world: ElbWorld, group: str | None, *times: float, second: int = 1, **counts: float) -> None:
    with in_process.aws().exclusive():
        traffic_metrics.take(
            Metrics(
                at=_NOW + second,
                load_balancer_arn=world.arn,
                target_group_arn=group,
                counts=counts,
                response_times=times,
            )
        )


def _heal(world: ElbWorld, *ips: str) -> None:
    for ip in ips:
        world.register(ip)
        world.backend.take_health(Health(target_group_arn=world.group, ip=ip, port=3000, state="healthy"))


def test_requests_count_for_the_load_balancer_and_for_its_group(world: ElbWorld) -> None:
    load_balancer, _, both = _scopes(world)
    _pass(world, world.group, RequestCount=3, HTTPCode_Target_2XX_Count=2, HTTPCode_Target_5XX_Count=1)
    _pass(world, None, RequestCount=1, HTTPCode_ELB_5XX_Count=1, HTTPCode_ELB_503_Count=1)
    counted = {
        (name, len(scope)): _statistic(world.account_id, name, scope)
        for name in ("RequestCount", "HTTPCode_Target_2XX_Count", "HTTPCode_ELB_503_Count")
        for scope in (load_balancer, both)
    }
    assert counted == {
        ("RequestCount", 1): 4,
        ("RequestCount", 2): 3,
        ("HTTPCode_Target_2XX_Count", 1): 2,
        ("HTTPCode_Target_2XX_Count", 2): 2,
        ("HTTPCode_ELB_503_Count", 1): 1,
        ("HTTPCode_ELB_503_Count", 2): None,
    }


def test_failed_connections_count_for_the_group_but_load_balancer_errors_do_not(
    world: ElbWorld,
) -> None:
    load_balancer, _, both = _scopes(world)
    _pass(world, world.group, RequestCount=3, TargetConnectionErrorCount=2)
    _pass(world, None, HTTPCode_ELB_5XX_Count=2, HTTPCode_ELB_502_Count=2)
    counted = {
        (name, len(scope)): _statistic(world.account_id, name, scope)
        for name in ("TargetConnectionErrorCount", "HTTPCode_ELB_5XX_Count", "HTTPCode_Target_5XX_Count")
        for scope in (load_balancer, both)
    }
    assert counted == {
        ("TargetConnectionErrorCount", 1): 2,
        ("TargetConnectionErrorCount", 2): 2,
        ("HTTPCode_ELB_5XX_Count", 1): 2,
        ("HTTPCode_ELB_5XX_Count", 2): None,
        ("HTTPCode_Target_5XX_Count", 1): None,
        ("HTTPCode_Target_5XX_Count", 2): None,
    }


def test_each_group_has_its_own_counts(world: ElbWorld) -> None:
    load_balancer, _, both = _scopes(world)
    other = world.group.replace("targetgroup/", "targetgroup/other-")
    _pass(world, world.group, 0.1, RequestCount=3, HTTPCode_Target_5XX_Count=1)
    _pass(world, other, 0.9, RequestCount=5, HTTPCode_Target_5XX_Count=2)
    names = ("RequestCount", "HTTPCode_Target_5XX_Count")
    assert [_statistic(world.account_id, name, load_balancer) for name in names] == [8, 3]
    assert [_statistic(world.account_id, name, both) for name in names] == [3, 1]
    elsewhere = {**load_balancer, "TargetGroup": _suffix(other)}
    assert [_statistic(world.account_id, name, elsewhere) for name in names] == [5, 2]
    assert _statistic(world.account_id, "TargetResponseTime", elsewhere, "p99") == 0.9


def test_response_times_have_percentiles(world: ElbWorld) -> None:
    load_balancer, _, both = _scopes(world)
    _pass(world, world.group, *(number / 1000 for number in range(1, 101)), RequestCount=100)
    for scope in (load_balancer, both):
        assert _statistic(world.account_id, "TargetResponseTime", scope, "p99") == pytest.approx(
            0.099, rel=0.011
        )


def test_requests_per_target_are_divided_by_the_healthy_targets(world: ElbWorld) -> None:
    _, group, both = _scopes(world)
    _heal(world, "10.0.0.7", "10.0.1.7")
    world.register("10.0.1.8")
    _pass(world, world.group, RequestCount=10, second=1)
    _pass(world, world.group, RequestCount=20, second=2)
    for scope in (group, both):
        assert _statistic(world.account_id, "RequestCountPerTarget", scope) == 15


def test_hosts_are_counted_by_health_and_zone(world: ElbWorld) -> None:
    _, _, both = _scopes(world)
    _heal(world, "10.0.0.7", "10.0.1.7")
    world.register("10.0.1.8")
    world.backend.take_health(
        Health(target_group_arn=world.group, ip="10.0.1.8", port=3000, state="unhealthy")
    )
    with in_process.aws().exclusive():
        traffic_metrics.record_hosts(now=_NOW + 10)
    by_zone = {**both, "AvailabilityZone": f"{in_process.REGION}c"}
    counted = {
        (name, len(scope)): _statistic(world.account_id, name, scope, "Maximum")
        for name in ("HealthyHostCount", "UnHealthyHostCount")
        for scope in (both, by_zone)
    }
    assert counted == {
        ("HealthyHostCount", 2): 2,
        ("UnHealthyHostCount", 2): 1,
        ("HealthyHostCount", 3): 1,
        ("UnHealthyHostCount", 3): 1,
    }


def test_without_requests_the_count_is_zero(world: ElbWorld) -> None:
    load_balancer, group, _ = _scopes(world)
    with in_process.aws().exclusive():
        traffic_metrics.record_hosts(now=_NOW + 10)
    assert _statistic(world.account_id, "RequestCount", load_balancer) == 0
    assert _statistic(world.account_id, "RequestCountPerTarget", group) == 0
    assert _statistic(world.account_id, "HTTPCode_Target_5XX_Count", load_balancer) is None


# ---- services


def _task(account_id: str, *, group: str = "service:s") -> Task:
    definition: Any = SimpleNamespace(cpu="512", memory="1024")
    launch = Launch(
        account_id=account_id,
        region=in_process.REGION,
        cluster_name="c",
        cluster_arn="arn:c",
        definition=definition,
        group=group,
        started_by="ecs-svc/1",
        settings={},
    )
    return Task(
        id=f"task-{id(launch)}",
        arn="arn:task",
        launch=launch,
        created_at=0,
        containers=[],
        attachment_id="a",
    )


def _usage(*, cpu: float, mib: int) -> Usage:
    return Usage(memory_bytes=mib * 1024 * 1024, cpu_seconds=cpu)


def test_utilization_is_relative_to_the_reservation() -> None:
    before = UsageSample(at=10, usage=_usage(cpu=1.0, mib=1))
    now = UsageSample(at=12, usage=_usage(cpu=1.5, mib=256))
    found = service_metrics.shares(_task("1"), before=before, now=now)
    assert found == {"MemoryUtilization": 25.0, "CPUUtilization": 50.0}
    assert service_metrics.shares(_task("1"), before=None, now=now) == {"MemoryUtilization": 25.0}


def test_the_tasks_of_a_service_are_averaged(world: ElbWorld) -> None:
    one, two, alone = (
        _task(world.account_id),
        _task(world.account_id),
        _task(world.account_id, group="family:t"),
    )
    used = {one.id: 0.0, two.id: 0.0, alone.id: 0.0}

    class Users:
        def usage(self) -> list[tuple[Task, Usage]]:
            return [(task, _usage(cpu=used[task.id], mib=512)) for task in (one, two, alone)]

    metrics = ServiceMetrics(exclusive=in_process.aws().exclusive, tasks=Users())
    metrics.measure(now=_NOW + 1)
    used.update({one.id: 0.1, two.id: 0.4, alone.id: 9.0})
    metrics.measure(now=_NOW + 2)
    service = {"ClusterName": "c", "ServiceName": "s"}

    def found(name: str, statistic: str) -> float | None:
        return _statistic(world.account_id, name, service, statistic, namespace="AWS/ECS")

    assert found("CPUUtilization", "Average") == pytest.approx(50.0)
    assert found("CPUUtilization", "Maximum") == pytest.approx(80.0)
    assert found("MemoryUtilization", "Average") == 50.0

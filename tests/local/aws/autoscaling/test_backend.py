"""Application Auto Scaling: policies create alarms, and alarms scale services."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.cloudwatch.models import cloudwatch_backends

from mclass_tf.local.aws import alarms
from mclass_tf.local.aws.cloudwatch.metrics import Metric, Stats, dimensions
from mclass_tf.local.live import live
from tests.local import in_process

_MINUTE = 60 * (int(time.time()) // 60)
_TARGET = {
    "ServiceNamespace": "ecs",
    "ResourceId": "service/c/s",
    "ScalableDimension": "ecs:service:DesiredCount",
}
_SERVICE = {"ClusterName": "c", "ServiceName": "s"}
_CPU = {"PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}}
_CPU_METRIC = Metric(namespace="AWS/ECS", name="CPUUtilization", dimensions=dimensions(_SERVICE))
_HIGH_PERIODS, _LOW_PERIODS = 3, 15


@dataclass(kw_only=True)
class World:
    """A service of two tasks (not started) as a scalable target from 1 to 10, with time in minutes."""

    account_id: str
    minute: int = 0

    def client(self, service: str) -> Any:
        return in_process.client(self.account_id, service)

    @property
    def scaling(self) -> Any:
        return self.client("application-autoscaling")

    def put(self, name: str = "cpu", **configuration: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.scaling.put_scaling_policy(
            **_TARGET,
            PolicyName=name,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={"TargetValue": 50.0, **_CPU, **configuration},
        )
        return answer

    def pass_minutes(
        self,
        count: int,
        value: float,
        *,
        metric: Metric | None = None,
        unit: str = "Percent",
    ) -> int:
        """Let minutes pass with a value of the metric, and return the desired count."""
        backend = cloudwatch_backends[self.account_id][in_process.REGION]
        for _ in range(count):
            stats = Stats()
            stats.add(value)
            backend.metrics.add(
                metric or _CPU_METRIC, at=_MINUTE + 60 * self.minute + 30, stats=stats, unit=unit
            )
            self.minute += 1
            with in_process.aws().exclusive():
                alarms.evaluate_all(now=_MINUTE + 60 * self.minute + 2)
        return self.desired()

    def desired(self) -> int:
        found = self.client("ecs").describe_services(cluster="c", services=["s"])["services"][0]
        return int(found["desiredCount"])

    def activities(self) -> list[dict[str, Any]]:
        pages = self.scaling.get_paginator("describe_scaling_activities").paginate(ServiceNamespace="ecs")
        return [activity for page in pages for activity in page["ScalingActivities"]]

    def alarms(self) -> list[dict[str, Any]]:
        return list(self.client("cloudwatch").describe_alarms()["MetricAlarms"])


@pytest.fixture
def world() -> World:
    in_process.aws()
    found = World(account_id=in_process.new_account())
    ecs, ec2 = found.client("ecs"), found.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    ecs.create_cluster(clusterName="c")
    ecs.register_task_definition(
        family="t",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "web", "image": "example/web"}],
    )
    ecs.create_service(
        cluster="c",
        serviceName="s",
        taskDefinition="t",
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet]}},
    )
    found.scaling.register_scalable_target(**_TARGET, MinCapacity=0, MaxCapacity=10)
    ecs.update_service(cluster="c", service="s", desiredCount=2)
    return found


def test_a_policy_creates_two_alarms_on_its_metric(world: World) -> None:
    named = world.put()["Alarms"]
    high, low = sorted(world.alarms(), key=lambda alarm: str(alarm["AlarmName"]))
    assert sorted(alarm["AlarmName"] for alarm in named) == [high["AlarmName"], low["AlarmName"]]
    assert high["AlarmName"].startswith("TargetTracking-service/c/s-AlarmHigh-")
    assert low["AlarmName"].startswith("TargetTracking-service/c/s-AlarmLow-")
    assert (high["MetricName"], high["Threshold"], high["EvaluationPeriods"]) == ("CPUUtilization", 50.0, 3)
    assert (low["ComparisonOperator"], low["Threshold"], low["EvaluationPeriods"]) == (
        "LessThanThreshold",
        45.0,
        15,
    )
    assert {entry["Name"]: entry["Value"] for entry in high["Dimensions"]} == _SERVICE
    described = world.scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"][0]
    assert described["Alarms"] == named


def test_an_updated_policy_keeps_its_arn_and_gets_new_alarms(world: World) -> None:
    first, second = world.put(), world.put(TargetValue=80.0)
    assert first["PolicyARN"] == second["PolicyARN"]
    assert sorted(alarm["Threshold"] for alarm in world.alarms()) == [72.0, 80.0]


def test_policies_and_alarms_are_deleted_with_the_target(world: World) -> None:
    world.put()
    world.scaling.deregister_scalable_target(**_TARGET)
    assert world.scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"] == []
    assert world.alarms() == []


def test_a_busy_service_scales_out_after_three_minutes(world: World) -> None:
    world.put()
    assert world.pass_minutes(_HIGH_PERIODS - 1, 100) == 2
    assert world.pass_minutes(1, 100) == 4
    (activity,) = world.activities()
    assert activity["Description"] == "Setting desired count to 4."
    assert activity["Cause"].startswith("monitor alarm TargetTracking-service/c/s-AlarmHigh-")
    assert activity["Cause"].endswith(" in state ALARM triggered policy cpu")
    assert activity["StatusCode"] == "InProgress"
    assert activity["StatusMessage"] == (
        "Successfully set desired count to 4. Waiting for change to be fulfilled by ecs."
    )


def test_a_service_scales_out_again_after_the_cooldown(world: World) -> None:
    world.put(ScaleOutCooldown=120)
    assert world.pass_minutes(_HIGH_PERIODS, 100) == 4
    assert world.pass_minutes(1, 100) == 4
    assert world.pass_minutes(1, 100) == 8
    assert world.pass_minutes(2, 100) == 10
    newest, *_ = world.activities()
    assert (newest["Description"], len(world.activities())) == ("Setting desired count to 10.", 3)


def test_an_idle_service_scales_in_after_fifteen_minutes(world: World) -> None:
    world.put(ScaleInCooldown=120)
    world.client("ecs").update_service(cluster="c", service="s", desiredCount=8)
    assert world.pass_minutes(_LOW_PERIODS - 1, 20) == 8
    assert world.pass_minutes(1, 20) == 4
    assert world.pass_minutes(1, 20) == 4
    assert world.pass_minutes(1, 20) == 2
    assert world.activities()[0]["Cause"].startswith("monitor alarm TargetTracking-service/c/s-AlarmLow-")


def test_a_service_does_not_scale_while_scaling_is_suspended(world: World) -> None:
    world.put()
    world.scaling.register_scalable_target(
        **_TARGET, SuspendedState={"DynamicScalingOutSuspended": True, "DynamicScalingInSuspended": True}
    )
    assert world.pass_minutes(_HIGH_PERIODS, 100) == 2
    assert world.pass_minutes(_LOW_PERIODS, 1) == 2
    assert world.activities() == []


def test_a_policy_with_scale_in_disabled_does_not_scale_in(world: World) -> None:
    world.put(DisableScaleIn=True)
    assert world.pass_minutes(_LOW_PERIODS, 1) == 2


def _per_target(group: str) -> Metric:
    return Metric(
        namespace="AWS/ApplicationELB",
        name="RequestCountPerTarget",
        dimensions=dimensions({"TargetGroup": f"targetgroup/{group}/1"}),
    )


def test_requests_of_one_target_group_scale_a_service(world: World) -> None:
    label = "app/web/1/targetgroup/blue/1"
    named = {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label}
    world.put("requests", PredefinedMetricSpecification=named, TargetValue=100.0)
    assert world.pass_minutes(_HIGH_PERIODS, 250, metric=_per_target("blue"), unit="Count") == 5


_BUSIER = "IF(FILL(blue, 0) >= FILL(green, 0), blue, green)"
_FILLED = "MAX([FILL(blue, 0), FILL(green, 0)])"


def _busiest(expression: str = _BUSIER) -> dict[str, Any]:
    """Return the configuration that modules/ecs-service uses."""
    measured = [
        {
            "Id": colour,
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/ApplicationELB",
                    "MetricName": "RequestCountPerTarget",
                    "Dimensions": [{"Name": "TargetGroup", "Value": f"targetgroup/{colour}/1"}],
                },
                "Stat": "Sum",
            },
            "ReturnData": False,
        }
        for colour in ("blue", "green")
    ]
    busiest = {"Id": "busiest", "Expression": expression, "ReturnData": True}
    return {"Metrics": [*measured, busiest]}


def _track(world: World, expression: str) -> dict[str, Any]:
    configuration = {"TargetValue": 100.0, "CustomizedMetricSpecification": _busiest(expression)}
    world.scaling.put_scaling_policy(
        **_TARGET,
        PolicyName="requests",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
    )
    return configuration


def test_requests_of_the_busier_of_two_groups_scale_a_service(world: World) -> None:
    configuration = _track(world, _BUSIER)
    assert world.pass_minutes(_HIGH_PERIODS + 1, 250, metric=_per_target("green"), unit="Count") == 5
    described = world.scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"][0]
    assert described["TargetTrackingScalingPolicyConfiguration"] == configuration


def test_a_metric_that_is_filled_never_scales_a_service_out(world: World) -> None:
    """Its newest minute is always missing, and 0 in its place is never above the target."""
    _track(world, _FILLED)
    assert world.pass_minutes(4 * _HIGH_PERIODS, 250, metric=_per_target("green"), unit="Count") <= 2


def test_a_deleted_service_does_not_scale(world: World) -> None:
    world.put()
    world.client("ecs").delete_service(cluster="c", service="s", force=True)
    before = len(live.problems)
    assert world.pass_minutes(_HIGH_PERIODS, 100) == 0
    assert world.activities() == []
    assert len(live.problems) == before


def test_policies_of_another_service_are_not_described(world: World) -> None:
    world.put()
    found = world.scaling.describe_scaling_policies(ServiceNamespace="ecs", ResourceId="service/c/s-2")
    assert found["ScalingPolicies"] == []


def test_scaling_into_new_bounds_is_an_activity(world: World) -> None:
    world.scaling.register_scalable_target(**_TARGET, MinCapacity=3)
    assert world.desired() == 3
    assert [activity["Cause"] for activity in world.activities()] == ["minimum capacity was set to 3"]


@pytest.mark.parametrize(
    "configuration",
    [
        {"TargetValue": 0.0},
        {"PredefinedMetricSpecification": {"PredefinedMetricType": "ALBRequestCountPerTarget"}},
        {"CustomizedMetricSpecification": _busiest()},
    ],
)
def test_a_policy_that_cannot_scale_is_refused(world: World, configuration: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        world.put(**configuration)
    assert world.alarms() == []


def test_step_scaling_is_refused(world: World) -> None:
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        world.scaling.put_scaling_policy(
            **_TARGET,
            PolicyName="steps",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={"AdjustmentType": "ChangeInCapacity"},
        )

"""The targets of a target group: registration, health and draining."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf.local.aws.elbv2.targets import Targets
from mclass_tf.local.balancer.report import Health
from tests.local.conftest import REGION, Account, Network

_DELAY = 30.0
_HEALTHY = Health(target_group_arn="arn", ip="10.0.0.7", port=3000, state="healthy")


@pytest.fixture
def targets() -> Targets:
    known = Targets()
    known.register("10.0.0.7", 3000, now=100)
    return known


def _states(known: Targets, *, now: float) -> list[tuple[str, str, str | None]]:
    return [(entry.ip, entry.state, entry.reason) for entry in known.all(now=now, delay=_DELAY)]


def test_a_new_target_is_initial_until_it_was_checked(targets: Targets) -> None:
    assert _states(targets, now=100) == [("10.0.0.7", "initial", "Elb.RegistrationInProgress")]
    assert targets.take(_HEALTHY, now=101)
    assert _states(targets, now=101) == [("10.0.0.7", "healthy", None)]
    assert [entry.since for entry in targets.all(now=102, delay=_DELAY)] == [101.0]


def test_an_unchanged_result_changes_nothing(targets: Targets) -> None:
    assert targets.take(_HEALTHY, now=101)
    assert not targets.take(_HEALTHY, now=102)


def test_registering_again_changes_nothing(targets: Targets) -> None:
    targets.take(_HEALTHY, now=101)
    targets.register("10.0.0.7", 3000, now=102)
    assert _states(targets, now=102) == [("10.0.0.7", "healthy", None)]


def test_a_target_drains_for_the_delay_and_is_removed(targets: Targets) -> None:
    targets.deregister("10.0.0.7", 3000, now=110)
    assert _states(targets, now=139.9) == [("10.0.0.7", "draining", "Target.DeregistrationInProgress")]
    assert targets.next_end(delay=_DELAY) == 140
    assert _states(targets, now=140) == []
    assert targets.next_end(delay=_DELAY) is None


def test_deregistering_again_does_not_restart_the_delay(targets: Targets) -> None:
    targets.deregister("10.0.0.7", 3000, now=110)
    targets.deregister("10.0.0.7", 3000, now=130)
    assert _states(targets, now=140) == []


def test_registering_ends_the_draining(targets: Targets) -> None:
    targets.take(_HEALTHY, now=101)
    targets.deregister("10.0.0.7", 3000, now=110)
    targets.register("10.0.0.7", 3000, now=120)
    assert _states(targets, now=500) == [("10.0.0.7", "initial", "Elb.RegistrationInProgress")]


def test_no_check_makes_a_draining_or_an_unknown_target_healthy(targets: Targets) -> None:
    targets.deregister("10.0.0.7", 3000, now=110)
    assert not targets.take(_HEALTHY, now=111)
    assert not Targets().take(_HEALTHY, now=111)
    assert _states(targets, now=112) == [("10.0.0.7", "draining", "Target.DeregistrationInProgress")]


# ---- through the API


@pytest.fixture
def elb(fresh: Account) -> Any:
    return fresh.client("elbv2")


@pytest.fixture
def group(elb: Any, network: Network) -> str:
    return make_group(elb, network)


def make_group(elb: Any, network: Network, **settings: Any) -> str:
    request = {
        "Name": "web",
        "Port": 3000,
        "Protocol": "HTTP",
        "TargetType": "ip",
        "VpcId": network.vpc_id,
        **settings,
    }
    return str(elb.create_target_group(**request)["TargetGroups"][0]["TargetGroupArn"])


def use(elb: Any, network: Network, group: str, *, port: int = 80) -> str:
    """Create a load balancer that forwards to the group, and return its ARN."""
    made = elb.create_load_balancer(
        Name="web", Subnets=list(network.subnet_ids), SecurityGroups=[network.group_id]
    )
    arn = str(made["LoadBalancers"][0]["LoadBalancerArn"])
    elb.create_listener(
        LoadBalancerArn=arn,
        Port=port,
        Protocol="HTTP",
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    return arn


def health(elb: Any, group: str, *requested: dict[str, Any]) -> list[tuple[str, int, str, str | None]]:
    request = {"TargetGroupArn": group, **({"Targets": list(requested)} if requested else {})}
    return [
        (
            entry["Target"]["Id"],
            entry["Target"]["Port"],
            entry["TargetHealth"]["State"],
            entry["TargetHealth"].get("Reason"),
        )
        for entry in elb.describe_target_health(**request)["TargetHealthDescriptions"]
    ]


def test_targets_of_an_unused_group_are_unused(elb: Any, group: str) -> None:
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.7"}])
    assert health(elb, group) == [("10.0.0.7", 3000, "unused", "Target.NotInUse")]


def test_a_target_is_described_with_its_zone_and_health_check_port(
    elb: Any, group: str, network: Network
) -> None:
    use(elb, network, group)
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.1.7", "Port": 3001}])
    found = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"][0]
    assert found["Target"] == {"Id": "10.0.1.7", "Port": 3001, "AvailabilityZone": f"{REGION}c"}
    assert found["HealthCheckPort"] == "3001"
    assert found["TargetHealth"]["State"] == "initial"


def test_one_address_may_be_a_target_on_two_ports(elb: Any, group: str, network: Network) -> None:
    use(elb, network, group)
    both = [{"Id": "10.0.0.7", "Port": 3000}, {"Id": "10.0.0.7", "Port": 3001}]
    elb.register_targets(TargetGroupArn=group, Targets=both)
    elb.deregister_targets(TargetGroupArn=group, Targets=both[:1])
    assert [state for _, _, state, _ in health(elb, group)] == ["draining", "initial"]


def test_a_deregistered_target_drains_and_an_unknown_one_is_ignored(
    elb: Any, group: str, network: Network
) -> None:
    use(elb, network, group)
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.7"}])
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.7"}, {"Id": "10.0.0.8"}])
    assert health(elb, group) == [("10.0.0.7", 3000, "draining", "Target.DeregistrationInProgress")]


def test_a_target_without_delay_is_removed_at_once(elb: Any, group: str, network: Network) -> None:
    use(elb, network, group)
    elb.modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
    )
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.7"}])
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.7"}])
    assert health(elb, group) == []
    assert health(elb, group, {"Id": "10.0.0.7"}) == [("10.0.0.7", 3000, "unused", "Target.NotRegistered")]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"Id": "10.9.0.7"}, "because it is not in the VPC"),
        ({"Id": "10.0.0.7", "AvailabilityZone": "all"}, "is within the VPC"),
        ({"Id": "8.8.8.8", "AvailabilityZone": "all"}, "not in a private range"),
        ({"Id": "10.0.0.7", "Port": 70000}, "less than or equal to 65535"),
        ({"Id": "i-0123456789abcdef0"}, "not a valid IPv4 address"),
    ],
)
def test_an_invalid_target_is_refused(elb: Any, group: str, target: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.8"}, target])
    assert health(elb, group) == []


def test_an_instance_target_group_rejects_addresses(elb: Any, network: Network) -> None:
    group = make_group(elb, network, TargetType="instance")
    with pytest.raises(ClientError, match=r"Instance ID '10\.0\.0\.7' is not valid"):
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.7"}])


@pytest.mark.parametrize(
    "settings", [{"Protocol": "TCP"}, {"ProtocolVersion": "GRPC"}, {"HealthCheckPort": "8080"}]
)
def test_an_unmodelled_target_group_is_refused(elb: Any, network: Network, settings: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="The local AWS"):
        make_group(elb, network, **settings)

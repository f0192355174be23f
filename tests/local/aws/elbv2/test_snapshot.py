"""The snapshot that the load balancer process receives, after calls of AWS."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.local.aws import acm
from mclass_tf.local.balancer.report import Health
from mclass_tf.local.live import live
from tests.local import elb_world, in_process
from tests.local.elb_world import ADDRESS, ElbWorld


@pytest.fixture
def world() -> Iterator[ElbWorld]:
    made = elb_world.make()
    yield made
    made.detach_all()


@pytest.fixture
def topics() -> Iterator[list[str]]:
    topics: list[str] = []
    unlisten = live.listen(topics.append)
    yield topics
    unlisten()


def _rule(world: ElbWorld, listener: str, *, priority: int, path: str) -> str:
    made = world.client("elbv2").create_rule(
        ListenerArn=listener,
        Priority=priority,
        Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": [path]}}],
        Actions=[_forward(world, weight=100)],
    )
    return str(made["Rules"][0]["RuleArn"])


def _forward(world: ElbWorld, *, weight: int) -> dict[str, Any]:
    groups = [{"TargetGroupArn": world.group, "Weight": weight}]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}


def test_rules_are_in_the_order_of_their_priority(world: ElbWorld) -> None:
    listener = world.forward()
    for priority in (100, 20, 3):
        _rule(world, listener, priority=priority, path=f"/{priority}/*")
    (entry,) = world.load_balancer().listeners
    assert [rule.priority for rule in entry.rules] == [3, 20, 100, None]
    assert entry.rules[0].conditions[0]["PathPatternConfig"] == {"Values": ["/3/*"]}
    assert (entry.port, entry.protocol, entry.certificate) == (80, "HTTP", None)


def test_changed_weights_are_announced_at_once(world: ElbWorld, topics: list[str]) -> None:
    rule = _rule(world, world.forward(), priority=1, path="/*")
    topics.clear()
    world.client("elbv2").modify_rule(RuleArn=rule, Actions=[_forward(world, weight=7)])
    assert "elbv2" in topics
    (action,) = world.load_balancer().listeners[0].rules[0].actions
    assert action["ForwardConfig"]["TargetGroups"] == [{"TargetGroupArn": world.group, "Weight": 7}]


def test_attributes_and_health_check_match_the_api(world: ElbWorld) -> None:
    world.forward()
    elb = world.client("elbv2")
    elb.modify_load_balancer_attributes(
        LoadBalancerArn=world.arn, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "7"}]
    )
    elb.modify_target_group_attributes(
        TargetGroupArn=world.group, Attributes=[{"Key": "slow_start.duration_seconds", "Value": "30"}]
    )
    elb.modify_target_group(
        TargetGroupArn=world.group, HealthCheckIntervalSeconds=10, Matcher={"HttpCode": "200-299"}
    )
    (group,) = world.groups()
    assert world.load_balancer().attributes["idle_timeout.timeout_seconds"] == "7"
    assert group.attributes["slow_start.duration_seconds"] == "30"
    assert group.attributes["deregistration_delay.timeout_seconds"] == "300"
    check = group.health_check
    assert (check.path, check.interval, check.timeout, check.matcher) == ("/health", 10, 5, "200-299")


def test_the_certificate_has_its_private_key(world: ElbWorld, tmp_path: Path) -> None:
    arn = f"arn:aws:acm:{in_process.REGION}:{world.account_id}:certificate/1"
    with in_process.aws().exclusive():
        acm.put_certificate(
            account_id=world.account_id, region=in_process.REGION, arn=arn, domain_name="mclass.example"
        )
    world.forward(port=443, Protocol="HTTPS", Certificates=[{"CertificateArn": arn}])
    (listener,) = world.load_balancer().listeners
    assert listener.certificate is not None
    assert listener.private_key is not None
    (tmp_path / "both.pem").write_text(listener.certificate + listener.private_key)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(tmp_path / "both.pem")
    trusting = ssl.create_default_context(cadata=listener.certificate)
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    _shake_hands(serving, trusting, name="mclass.example")


def _shake_hands(serving: ssl.SSLContext, trusting: ssl.SSLContext, *, name: str) -> None:
    """Fail if a client that trusts only the certificate does not accept the server as `name`."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there, server_hostname=name)
    server = serving.wrap_bio(there, back, server_side=True)
    for _ in range(2):
        for end in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert client.version() == "TLSv1.3"


def test_an_unused_target_group_is_not_in_the_snapshot(world: ElbWorld) -> None:
    assert world.groups() == []
    listener = world.forward()
    assert [group.name for group in world.groups()] == ["blue"]
    world.client("elbv2").delete_listener(ListenerArn=listener)
    assert world.groups() == []


# ---- reachability


def test_a_target_has_the_address_of_its_task_if_it_is_reachable(world: ElbWorld) -> None:
    world.forward()
    world.register()
    assert [target.address for target in world.targets()] == [None], "no task has this address"
    world.attach()
    assert [target.address for target in world.targets()] == [None], "its security group lets nobody in"
    world.open()
    assert [target.address for target in world.targets()] == [ADDRESS]


def test_a_revoked_rule_takes_effect_at_once(world: ElbWorld, topics: list[str]) -> None:
    world.forward()
    world.attach()
    world.register()
    world.open()
    topics.clear()
    world.close()
    assert "elbv2" in topics
    assert [target.address for target in world.targets()] == [None]


def test_nodes_without_egress_reach_no_target(world: ElbWorld) -> None:
    world.forward()
    world.attach()
    world.register()
    world.open()
    ec2 = world.client("ec2")
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.revoke_security_group_egress(GroupId=world.nodes, IpPermissions=everything)
    assert [target.address for target in world.targets()] == [None]
    ec2.authorize_security_group_egress(
        GroupId=world.nodes,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 3000,
                "ToPort": 3000,
                "UserIdGroupPairs": [{"GroupId": world.tasks}],
            }
        ],
    )
    assert [target.address for target in world.targets()] == [ADDRESS]


def test_ranges_and_prefix_lists_must_cover_all_zones_of_the_load_balancer(world: ElbWorld) -> None:
    world.forward()
    world.attach()
    world.register()
    world.open(IpRanges=[{"CidrIp": "10.0.0.0/24"}])
    assert [target.address for target in world.targets()] == [None]
    made = world.client("ec2").create_managed_prefix_list(
        PrefixListName="zones",
        AddressFamily="IPv4",
        MaxEntries=2,
        Entries=[{"Cidr": "10.0.0.0/24"}, {"Cidr": "10.0.1.0/24"}],
    )
    world.open(PrefixListIds=[{"PrefixListId": made["PrefixList"]["PrefixListId"]}])
    assert [target.address for target in world.targets()] == [ADDRESS]


def test_a_network_acl_blocks_traffic_between_subnets(world: ElbWorld, topics: list[str]) -> None:
    world.forward()
    world.attach()
    world.register()
    world.open()
    ec2 = world.client("ec2")
    acl = next(
        entry["NetworkAclId"]
        for entry in ec2.describe_network_acls()["NetworkAcls"]
        if entry["VpcId"] == world.vpc_id
    )
    topics.clear()
    ec2.create_network_acl_entry(
        NetworkAclId=acl,
        RuleNumber=50,
        Protocol="6",
        RuleAction="deny",
        Egress=False,
        CidrBlock="10.0.1.0/24",
        PortRange={"From": 3000, "To": 3000},
    )
    assert "elbv2" in topics
    assert [target.address for target in world.targets()] == [None]


# ---- draining


def test_a_target_is_draining_until_its_delay_ends(world: ElbWorld) -> None:
    world.forward()
    world.register()
    elb = world.client("elbv2")
    elb.modify_target_group_attributes(
        TargetGroupArn=world.group,
        Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}],
    )
    elb.deregister_targets(TargetGroupArn=world.group, Targets=[{"Id": "10.0.0.7"}])
    end = world.backend.next_drained(world.group)
    assert [target.is_draining for target in world.targets()] == [True]
    assert 0 < end - time.time() <= 1
    while time.time() < end:
        time.sleep(0.02)
    assert world.targets() == ()


def test_describe_target_health_returns_the_results_of_health_checks(world: ElbWorld) -> None:
    world.forward()
    world.register()
    found = Health(
        target_group_arn=world.group,
        ip="10.0.0.7",
        port=3000,
        state="unhealthy",
        reason="Target.ResponseCodeMismatch",
        description="Health checks failed with these codes: [500]",
    )
    assert world.backend.take_health(found)
    described = world.client("elbv2").describe_target_health(TargetGroupArn=world.group)
    assert described["TargetHealthDescriptions"][0]["TargetHealth"] == {
        "State": "unhealthy",
        "Reason": "Target.ResponseCodeMismatch",
        "Description": "Health checks failed with these codes: [500]",
    }


def test_a_target_in_a_zone_that_is_not_enabled_is_unused(world: ElbWorld) -> None:
    world.forward()
    subnet = world.client("ec2").create_subnet(
        VpcId=world.vpc_id, CidrBlock="10.0.9.0/24", AvailabilityZone=f"{in_process.REGION}b"
    )
    assert subnet["Subnet"]["SubnetId"]
    world.register("10.0.9.7")
    (health,) = world.backend.target_health(world.group)
    assert (health.state, health.reason) == ("unused", "Target.NotInUse")
    assert world.targets() == ()


def test_health_is_reset_when_another_load_balancer_uses_the_group(world: ElbWorld) -> None:
    listener = world.forward()
    world.register()
    world.backend.take_health(Health(target_group_arn=world.group, ip="10.0.0.7", port=3000, state="healthy"))
    world.client("elbv2").delete_listener(ListenerArn=listener)
    world.forward(port=81)
    (health,) = world.backend.target_health(world.group)
    assert health.state == "initial"

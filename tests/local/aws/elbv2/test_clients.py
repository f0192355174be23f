"""Which clients a load balancer answers: its security group sees the addresses that they have in AWS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mclass_tf.local.live import CLIENT_ADDRESS, live
from tests.local import elb_world
from tests.local.elb_world import ADDRESS, ElbWorld

OUTSIDE, TASK = "127.0.0.1", ADDRESS[0]


def _from(block: str) -> dict[str, Any]:
    return {"IpRanges": [{"CidrIp": block}]}


@pytest.fixture
def public() -> Iterator[ElbWorld]:
    """An internet-facing load balancer that listens on port 80; nobody is admitted."""
    world = elb_world.make(scheme="internet-facing")
    world.forward()
    yield world
    world.detach_all()


@pytest.fixture
def internal() -> Iterator[ElbWorld]:
    world = elb_world.make()
    world.forward()
    yield world
    world.detach_all()


@pytest.fixture
def client_address() -> Iterator[None]:
    """Restore the address of clients after the test."""
    yield
    live.client_address = CLIENT_ADDRESS


def _add_nat_gateway(world: ElbWorld) -> str:
    """Route the first subnet to the internet through a NAT gateway in the second; return its public address."""
    ec2 = world.client("ec2")
    address = ec2.allocate_address(Domain="vpc")
    nat = ec2.create_nat_gateway(SubnetId=world.subnet_ids[1], AllocationId=address["AllocationId"])
    table = ec2.create_route_table(VpcId=world.vpc_id)["RouteTable"]["RouteTableId"]
    ec2.create_route(
        RouteTableId=table,
        DestinationCidrBlock="0.0.0.0/0",
        NatGatewayId=nat["NatGateway"]["NatGatewayId"],
    )
    ec2.associate_route_table(RouteTableId=table, SubnetId=world.subnet_ids[0])
    return str(address["PublicIp"])


def test_a_client_outside_the_vpc_comes_from_the_internet(public: ElbWorld) -> None:
    assert public.clients().source(OUTSIDE) is None

    public.admit(**_from("10.0.0.0/8"))  # a private range admits nobody to an internet-facing load balancer
    assert public.clients().source(OUTSIDE) is None

    public.admit(port=8443, **_from("0.0.0.0/0"))
    assert public.clients().source(OUTSIDE) is None

    public.admit(**_from("203.0.113.0/24"))
    assert public.clients().source(OUTSIDE) == "203.0.113.25"


def test_a_prefix_list_admits_its_ranges_and_a_group_only_its_members(public: ElbWorld) -> None:
    public.admit(UserIdGroupPairs=[{"GroupId": public.tasks}])
    assert public.clients().source(OUTSIDE) is None

    made = public.client("ec2").create_managed_prefix_list(
        PrefixListName="offices",
        MaxEntries=5,
        AddressFamily="IPv4",
        Entries=[{"Cidr": "203.0.113.0/28"}, {"Cidr": "203.0.113.16/28"}],
    )
    public.admit(PrefixListIds=[{"PrefixListId": made["PrefixList"]["PrefixListId"]}])
    assert public.clients().source(OUTSIDE) == "203.0.113.25"


def test_a_network_acl_stops_a_client_that_the_group_admits(public: ElbWorld) -> None:
    public.admit(**_from("0.0.0.0/0"))
    assert public.clients().source(OUTSIDE) == CLIENT_ADDRESS

    ec2 = public.client("ec2")
    mine = {"Name": "association.subnet-id", "Values": [public.subnet_ids[0]]}
    acl = ec2.describe_network_acls(Filters=[mine])["NetworkAcls"][0]["NetworkAclId"]
    ec2.create_network_acl_entry(
        NetworkAclId=acl,
        RuleNumber=1,
        Protocol="6",
        RuleAction="deny",
        Egress=False,
        CidrBlock="203.0.113.0/24",
        PortRange={"From": 80, "To": 80},
    )
    assert public.clients().source(OUTSIDE) is None


@pytest.mark.usefixtures("client_address")
def test_only_a_client_of_the_network_reaches_an_internal_load_balancer(internal: ElbWorld) -> None:
    internal.admit(**_from("0.0.0.0/0"))
    assert internal.clients().source(OUTSIDE) is None

    live.client_address = "10.99.0.7"  # a machine behind a VPN
    assert internal.clients().source(OUTSIDE) == "10.99.0.7"


@pytest.mark.usefixtures("client_address")
def test_a_machine_in_the_vpc_reaches_a_public_address_through_the_nat_gateway(public: ElbWorld) -> None:
    public.admit(**_from("0.0.0.0/0"))
    live.client_address = "10.0.0.99"
    assert public.clients().source(OUTSIDE) is None

    assert public.clients().source(OUTSIDE) is None
    address = _add_nat_gateway(public)
    assert public.clients().source(OUTSIDE) == address
    live.client_address = "10.99.0.7"  # not in the VPC: no way to the internet is known
    assert public.clients().source(OUTSIDE) is None


def test_a_task_reaches_a_public_address_through_its_nat_gateway_alone(public: ElbWorld) -> None:
    public.attach()
    public.admit(**_from("10.0.0.0/8"))
    public.admit(UserIdGroupPairs=[{"GroupId": public.tasks}])
    assert public.clients().source(TASK) is None

    address = _add_nat_gateway(public)
    assert public.clients().source(TASK) is None, "the group sees the gateway, not the task"
    public.admit(**_from(f"{address}/32"))
    assert public.clients().source(TASK) == address
    assert public.clients().source(OUTSIDE) is None


def test_a_task_keeps_its_address_and_groups_towards_an_internal_load_balancer(internal: ElbWorld) -> None:
    internal.attach("10.0.0.7")
    assert internal.clients().source(TASK) is None

    internal.admit(UserIdGroupPairs=[{"GroupId": internal.tasks}])
    assert internal.clients().source(TASK) == "10.0.0.7"
    assert internal.clients().source(OUTSIDE) is None


def test_a_header_condition_that_elb_refuses_is_refused(public: ElbWorld) -> None:
    elb = public.client("elbv2")
    listener = elb.describe_listeners(LoadBalancerArn=public.arn)["Listeners"][0]["ListenerArn"]

    def refusal(**header: Any) -> str:
        condition = {"Field": "http-header", "HttpHeaderConfig": header}
        with pytest.raises(elb.exceptions.ClientError) as refused:
            elb.create_rule(
                ListenerArn=listener,
                Priority=1,
                Conditions=[{"Field": "path-pattern", "Values": ["/*"]}, condition],
                Actions=[{"Type": "forward", "TargetGroupArn": public.group}],
            )
        return str(refused.value)

    assert "'Host' is not valid" in refusal(HttpHeaderName="Host", Values=["a"])
    assert "is not valid" in refusal(HttpHeaderName="with space", Values=["a"])
    assert "must be specified" in refusal(HttpHeaderName="X-Test", Values=[""])
    assert "only have '5' condition values" in refusal(HttpHeaderName="X-Test", Values=["a"] * 5)

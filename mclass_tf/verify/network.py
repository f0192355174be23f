"""Checks of the network: zones, routes, and the tasks' access to the AWS services that they call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mclass_tf.verify.check import (
    Comparison,
    NotApplicableError,
    contains,
    equal,
    holds,
    registry,
    within,
)
from mclass_tf.verify.readers.reader import Item, MissingError
from mclass_tf.verify.security import Opening, egress, ingress
from mclass_tf.verify.world import World

check = registry.group("network")

HTTPS = 443
EVERYWHERE = "0.0.0.0/0"

# Without these endpoints, a task without another way out can neither pull its image nor write its log.
REQUIRED_ENDPOINTS = ("ecr.api", "ecr.dkr", "logs", "s3")


@check(
    "the VPC is available and resolves names, as private DNS needs",
    hint="enable_dns_support and enable_dns_hostnames of the VPC",
)
def vpc(world: World) -> Iterator[Comparison]:
    yield equal("state of the VPC", expected="available", actual=world.ec2.vpc["State"])
    for what, enabled in world.ec2.vpc_dns.items():
        yield equal(what, expected=True, actual=enabled)


@check(
    "the public subnets are of this VPC and in at least two zones",
    hint="a load balancer needs subnets in two zones; see `availability_zones` of modules/network",
)
def public_subnets(world: World) -> Iterator[Comparison]:
    yield from _spread(world, _public(world))


@check(
    "the private subnets are of this VPC and in at least two zones",
    hint="tasks in one zone fall with it; see `availability_zones` of modules/network",
)
def private_subnets(world: World) -> Iterator[Comparison]:
    yield from _spread(world, _private(world))


@check(
    "the public subnets are routed to the internet gateway of this VPC",
    hint="the public route table needs a route 0.0.0.0/0 to the internet gateway",
)
def public_routes(world: World) -> Iterator[Comparison]:
    for subnet in _public(world):
        gateways = {route.get("GatewayId") for route in _ways_out(world, subnet)}
        reached = gateways & world.ec2.internet_gateway_ids
        expected = world.ec2.internet_gateway_ids or "an internet gateway attached to the VPC"
        yield holds(f"way out of {subnet}", bool(reached), expected=expected, actual=_targets(world, subnet))


@check(
    "no private subnet is routed to an internet gateway",
    hint="remove the route to the internet gateway from the private route tables",
)
def private_routes(world: World) -> Iterator[Comparison]:
    for subnet in _private(world):
        gateways = {str(route.get("GatewayId", "")) for route in _routes(world, subnet)}
        exposed = {gateway for gateway in gateways if gateway.startswith(("igw-", "eigw-"))}
        yield equal(f"internet gateways reached from {subnet}", expected=set(), actual=exposed)


@check(
    "the private subnets reach the outside as `egress` says",
    hint="with nat a private subnet has a route 0.0.0.0/0 to an available NAT gateway, with endpoints no such route",
)
def private_egress(world: World) -> Iterator[Comparison]:
    if world.outputs.egress == "none":
        raise NotApplicableError("egress is none: the ways out belong to whoever owns the VPC")
    for subnet in _private(world):
        actual = {str(route.get("NatGatewayId")) for route in _ways_out(world, subnet)}
        available = {i for i, item in world.ec2.nat_gateways.items() if item["State"] == "available"}
        if world.outputs.egress == "nat":
            expected = available or "an available NAT gateway"
            routed = bool(actual) and actual <= available
            yield holds(f"way out of {subnet}", routed, expected=expected, actual=_targets(world, subnet))
        else:
            yield equal(f"ways out of {subnet}", expected=set(), actual=_targets(world, subnet))


@check(
    "every AWS service that a starting task calls has an endpoint in the VPC",
    hint="tasks without NAT need the endpoints ecr.api, ecr.dkr, logs and s3; see `endpoints` of modules/network",
)
def required_endpoints(world: World) -> Iterator[Comparison]:
    endpoints = _endpoints(world)
    # In China, some names begin with "cn.".
    services = {str(item["ServiceName"]).removeprefix("cn.") for item in endpoints.values()}
    required = [f"com.amazonaws.{world.outputs.region}.{name}" for name in REQUIRED_ENDPOINTS]
    yield contains("services with an endpoint", required=required, actual=services)


@check(
    "every endpoint is available in this VPC",
    hint="look at the endpoint's state in the VPC console; apply again where it was deleted or rejected",
)
def available_endpoints(world: World) -> Iterator[Comparison]:
    for name, endpoint in _endpoints(world).items():
        yield equal(f"state of {name}", expected="available", actual=str(endpoint["State"]).lower())
        yield equal(f"VPC of {name}", expected=world.outputs.vpc_id, actual=endpoint["VpcId"])


@check(
    "every interface endpoint answers under the service's own name in every private subnet",
    hint="private_dns_enabled, and subnet_ids with every private subnet",
)
def private_dns(world: World) -> Iterator[Comparison]:
    for name, endpoint in _interfaces(world).items():
        yield equal(f"private DNS of {name}", expected=True, actual=endpoint.get("PrivateDnsEnabled"))
        zones = {_subnet(world, i)["AvailabilityZone"] for i in _private(world)}
        reached = {_subnet(world, i)["AvailabilityZone"] for i in endpoint.get("SubnetIds", [])}
        yield equal(f"zones of {name}", expected=zones, actual=reached)


@check(
    "the endpoints admit the tasks on port 443",
    hint="the endpoints' security group needs ingress on 443 from the service's security group or the VPC's CIDR",
)
def endpoints_admit_tasks(world: World) -> Iterator[Comparison]:
    tasks = world.outputs.service_security_group_id
    cidrs = {_subnet(world, subnet)["CidrBlock"] for subnet in _private(world)}
    for name, endpoint in _interfaces(world).items():
        openings = [
            rule for group in _groups(world, endpoint) for rule in ingress(group) if rule.covers(HTTPS)
        ]
        admitted = any(rule.peer == tasks for rule in openings) or all(
            any(rule.holds_network(cidr) for rule in openings) for cidr in cidrs
        )
        expected = f"tcp 443 with {tasks} or each of {', '.join(sorted(cidrs))}"
        yield holds(f"ingress of {name}", admitted, expected=expected, actual=openings)


@check(
    "the endpoints admit no traffic from outside the VPC",
    hint="ingress of the endpoints' security group is for the VPC's CIDR or its security groups alone",
)
def endpoints_admit_nobody_else(world: World) -> Iterator[Comparison]:
    cidrs = [item["CidrBlock"] for item in world.ec2.vpc.get("CidrBlockAssociationSet", [])]
    cidrs.append(world.ec2.vpc["CidrBlock"])
    for name, endpoint in _interfaces(world).items():
        openings = [rule for group in _groups(world, endpoint) for rule in ingress(group)]
        foreign = [
            rule for rule in openings if not (rule.peer in world.ec2.security_groups or rule.lies_in(cidrs))
        ]
        yield equal(f"openings of {name} beyond the VPC", expected=(), actual=tuple(foreign))


@check(
    "every private subnet reaches S3, where image layers are, by the gateway endpoint",
    hint="route_table_ids of the S3 gateway endpoint needs every private route table",
)
def gateway_routes(world: World) -> Iterator[Comparison]:
    gateways = [item for item in _endpoints(world).values() if item["VpcEndpointType"] == "Gateway"]
    s3 = [item for item in gateways if str(item["ServiceName"]).endswith(".s3")]
    tables = {table for item in s3 for table in item.get("RouteTableIds", [])}
    for subnet in _private(world):
        table = _route_table(world, subnet)["RouteTableId"]
        yield contains(f"route tables with S3, for {subnet}", required=[table], actual=tables)


@check(
    "the tasks may call AWS over HTTPS",
    hint="the service's security group needs egress on 443: to the endpoints and S3's prefix list, or to 0.0.0.0/0",
)
def tasks_call_https(world: World) -> Iterator[Comparison]:
    openings = [rule for rule in _task_egress(world) if rule.covers(HTTPS)]
    everywhere = any(rule.holds_network(EVERYWHERE) for rule in openings)
    if world.outputs.egress != "endpoints":
        yield holds("egress on 443", everywhere, expected=f"tcp 443 with {EVERYWHERE}", actual=openings)
        return
    peers = {rule.peer for rule in openings}
    to_s3 = everywhere or any(peer.startswith("pl-") for peer in peers)
    yield holds("egress on 443 to S3", to_s3, expected="S3's prefix list", actual=openings)
    for name, endpoint in _interfaces(world).items():
        groups = {str(group["GroupId"]) for group in endpoint.get("Groups", [])}
        reached = bool(groups & peers) or any(
            rule.holds_network(world.ec2.vpc["CidrBlock"]) for rule in openings
        )
        yield holds(f"egress on 443 to {name}", reached, expected=groups, actual=openings)


@check(
    "the tasks' security group allows no access to the internet beyond what `egress` gives",
    hint="with endpoints, remove the egress rules with 0.0.0.0/0 or ::/0; with NAT leave the one on 443",
)
def tasks_stay_inside(world: World) -> Iterator[Comparison]:
    public = {str(rule) for rule in _task_egress(world) if rule.is_internet}
    allowed = set() if world.outputs.egress == "endpoints" else {f"tcp {HTTPS} with {EVERYWHERE}"}
    yield within("egress to the internet", allowed=allowed, actual=public)


def _public(world: World) -> Sequence[str]:
    if not world.outputs.public_subnet_ids:
        raise NotApplicableError("the environment has no public subnets")
    return world.outputs.public_subnet_ids


def _private(world: World) -> Sequence[str]:
    if not world.outputs.private_subnet_ids:
        raise NotApplicableError("the environment has no private subnets")
    return world.outputs.private_subnet_ids


def _endpoints(world: World) -> Mapping[str, Item]:
    if world.outputs.egress != "endpoints":
        raise NotApplicableError(f"the tasks' way out is {world.outputs.egress!r}, not endpoints")
    if not world.outputs.vpc_endpoint_ids:
        raise MissingError("the outputs say that tasks reach AWS by endpoints, but name none")
    endpoints = world.ec2.vpc_endpoints
    absent = {i for i in world.outputs.vpc_endpoint_ids.values() if i not in endpoints}
    if absent:
        raise MissingError(f"endpoints that do not exist: {', '.join(sorted(absent))}")
    return {name: endpoints[i] for name, i in sorted(world.outputs.vpc_endpoint_ids.items())}


def _interfaces(world: World) -> Mapping[str, Item]:
    interfaces = {n: item for n, item in _endpoints(world).items() if item["VpcEndpointType"] == "Interface"}
    if not interfaces:
        raise MissingError("none of the endpoints is an interface endpoint")
    return interfaces


def _groups(world: World, endpoint: Item) -> Sequence[Item]:
    return [world.ec2.security_group(group["GroupId"]) for group in endpoint.get("Groups", [])]


def _task_egress(world: World) -> Sequence[Opening]:
    return egress(world.ec2.security_group(world.outputs.service_security_group_id))


def _spread(world: World, subnets: Sequence[str]) -> Iterator[Comparison]:
    for subnet in subnets:
        actual = _subnet(world, subnet)["VpcId"]
        yield equal(f"VPC of {subnet}", expected=world.outputs.vpc_id, actual=actual)
    zones = {str(_subnet(world, subnet)["AvailabilityZone"]) for subnet in subnets}
    yield holds("zones", len(zones) > 1, expected="at least two", actual=zones)


def _subnet(world: World, subnet: str) -> Item:
    if subnet not in world.ec2.subnets:
        raise MissingError(f"subnet {subnet} does not exist")
    return world.ec2.subnets[subnet]


def _route_table(world: World, subnet: str) -> Item:
    """Return the route table associated with a subnet, else the VPC's main one."""

    def associated(key: str, value: object) -> list[Item]:
        return [
            table
            for table in world.ec2.route_tables
            if any(association.get(key) == value for association in table.get("Associations", []))
        ]

    tables = associated("SubnetId", subnet) or associated("Main", True)
    if not tables:
        raise MissingError(f"{subnet} has no route table")
    return tables[0]


def _routes(world: World, subnet: str) -> Sequence[Item]:
    return [route for route in _route_table(world, subnet)["Routes"] if route.get("State") != "blackhole"]


def _ways_out(world: World, subnet: str) -> Sequence[Item]:
    return [route for route in _routes(world, subnet) if route.get("DestinationCidrBlock") == EVERYWHERE]


def _targets(world: World, subnet: str) -> set[str]:
    keys = ("GatewayId", "NatGatewayId", "TransitGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId")
    return {str(route[key]) for route in _ways_out(world, subnet) for key in keys if route.get(key)}

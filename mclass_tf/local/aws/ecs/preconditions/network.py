"""Checks the network path from a task to an AWS service: endpoints, routes, security groups, network ACLs.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/verify-connectivity.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from moto.ec2 import ec2_backends

from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.elbv2.reachability import Peer, entries_allow, entries_of, rules_allow, rules_of
from mclass_tf.local.network import Interface

_HTTPS = 443
_EPHEMERAL = (1024, 65535)
_ANYWHERE = IPv4Network("0.0.0.0/0")
_PUBLIC = IPv4Address("203.0.113.10")  # stands for a public address of AWS; RFC 5737


@dataclass(frozen=True, kw_only=True)
class Blockage:
    """A connection that times out. `address` is the destination, `cause` is what blocks it."""

    address: str
    cause: str


def blocked(task: Task, *, service: str, region: str) -> Blockage | None:
    """Return what blocks the task from `service` (as endpoints name it: "ecr.api", "s3", …), or None."""
    ec2 = ec2_backends[task.launch.account_id][task.launch.region]
    if task.interface is None:
        raise AssertionError("the task has no network interface")
    path = _NetworkPath(ec2=ec2, task=task, interface=task.interface)
    if str(ec2.get_vpc(path.interface.vpc_id).enable_dns_support).lower() != "true":
        return Blockage(address=str(_PUBLIC), cause=f"enableDnsSupport of {path.interface.vpc_id} is off")
    name = f"com.amazonaws.{region}.{service}"
    endpoint = path.endpoint(name) or path.endpoint(f"cn.{name}")  # as some names in China begin
    if endpoint is not None:
        return path.to_endpoint(endpoint)
    gateway = path.gateway_endpoint(name)
    return path.to_gateway(gateway) if gateway is not None else path.to_internet(service)


@dataclass(frozen=True, kw_only=True)
class _NetworkPath:
    ec2: Any
    task: Task
    interface: Interface

    # ---- endpoints and route tables

    def endpoint(self, name: str) -> Any:
        """Return the interface endpoint with private DNS: the service name then resolves to nothing else."""
        endpoints = (entry for entry in self._endpoints(name) if _endpoint_type(entry) == "interface")
        return next((entry for entry in endpoints if str(entry.private_dns_enabled).lower() == "true"), None)

    def gateway_endpoint(self, name: str) -> Any:
        table = self._route_table(self.interface.subnet_id)
        endpoints = (entry for entry in self._endpoints(name) if _endpoint_type(entry) == "gateway")
        return next((entry for entry in endpoints if table.id in (entry.route_table_ids or [])), None)

    def _endpoints(self, name: str) -> Iterator[Any]:
        for entry in self.ec2.vpc_end_points.values():
            is_available = entry.state not in {"deleted", "deleting"}
            if is_available and entry.vpc_id == self.interface.vpc_id and entry.service_name == name:
                yield entry

    def _route_table(self, subnet_id: str) -> Any:
        """Return the route table of the subnet, or the main one of the VPC."""
        tables = [entry for entry in self.ec2.route_tables.values() if entry.vpc_id == self.interface.vpc_id]
        explicit = [
            entry
            for entry in tables
            if subnet_id in {association.get("SubnetId") for association in entry.associations}
        ]
        main = [entry for entry in tables if entry.main_association_id is not None]
        return (explicit or main)[0]

    # ---- the three kinds of path

    def to_endpoint(self, endpoint: Any) -> Blockage | None:
        groups = frozenset(endpoint.security_group_ids)
        for subnet_id in endpoint.subnet_ids or []:
            destination = Peer(range=IPv4Network(self.ec2.get_subnet(subnet_id).cidr_block), group_ids=groups)
            address = str(destination.range[10])
            if not rules_allow(self._egress(), other=destination, port=_HTTPS):
                return Blockage(
                    address=address, cause=f"no egress rule of {self._group_names()} leads to {endpoint.id}"
                )
            ingress = rules_of(self.ec2, groups, egress=False)
            if not rules_allow(ingress, other=self._own_peer(), port=_HTTPS):
                return Blockage(
                    address=address,
                    cause=f"no ingress rule of {', '.join(sorted(groups))}, the security group of {endpoint.id}, "
                    f"lets {self.interface.private_ip} in",
                )
            if subnet_id != self.interface.subnet_id and not self._acls_allow(subnet_id, destination.range):
                return Blockage(address=address, cause=f"a network ACL is in the way to {endpoint.id}")
        if not endpoint.subnet_ids:
            return Blockage(address=str(_PUBLIC), cause=f"{endpoint.id} is in no subnet")
        return None

    def to_gateway(self, endpoint: Any) -> Blockage | None:
        """The addresses of S3 are public. A security group rule may name them by the prefix list of AWS."""
        prefixes = self.ec2.managed_prefix_lists.get(endpoint.destination_prefix_list_id)
        entries: list[dict[str, str]] = [] if prefixes is None else next(iter(prefixes.entries.values()), [])
        destination = IPv4Network(entries[0]["Cidr"]) if entries else _ANYWHERE
        if not rules_allow(self._egress(), other=Peer(range=destination), port=_HTTPS):
            return Blockage(
                address=str(destination[10]),
                cause=f"no egress rule of {self._group_names()} leads to {endpoint.destination_prefix_list_id}",
            )
        if not self._acl_allows(self.interface.subnet_id, destination):
            return Blockage(
                address=str(destination[10]),
                cause=f"the network ACL of {self.interface.subnet_id} is in the way to S3",
            )
        return None

    def to_internet(self, service: str) -> Blockage | None:
        cause = self._no_route(service)
        if cause is None and not rules_allow(self._egress(), other=Peer(range=_ANYWHERE), port=_HTTPS):
            cause = f"no egress rule of {self._group_names()} allows HTTPS to anywhere"
        if cause is None and not self._acl_allows(self.interface.subnet_id, _ANYWHERE):
            cause = f"the network ACL of {self.interface.subnet_id} is in the way"
        return None if cause is None else Blockage(address=str(_PUBLIC), cause=cause)

    # ---- routes

    def _no_route(self, service: str) -> str | None:
        """Return why the task has no route to the internet: it needs a NAT gateway in a public subnet, or a public IP."""
        subnet_id = self.interface.subnet_id
        route = self._default_route(subnet_id)
        if route is None:
            return f"{subnet_id} has no default route, and {self.interface.vpc_id} no endpoint for {service}"
        if route.nat_gateway is not None:
            return self._nat_fault(route.nat_gateway)
        if self._is_internet_gateway(route.gateway):
            network = (self.task.launch.settings.get("networkConfiguration") or {}).get("awsvpcConfiguration")
            if (network or {}).get("assignPublicIp") == "ENABLED":
                return None
            return f"{subnet_id} is public, but the task has no public IP: assignPublicIp is DISABLED"
        return f"the default route of {subnet_id} leads to no NAT or internet gateway"

    def _nat_fault(self, gateway: Any) -> str | None:
        nat = self.ec2.nat_gateways.get(gateway.id)
        if nat is None or nat.state != "available":
            return f"the default route leads to {gateway.id}, which is not there"
        if nat.connectivity_type == "private":
            return f"{gateway.id} is a private NAT gateway"
        route = self._default_route(nat.subnet_id)
        if route is None or not self._is_internet_gateway(route.gateway):
            return f"{nat.subnet_id}, the subnet of {gateway.id}, has no route to an internet gateway"
        if not self._acl_allows(nat.subnet_id, _ANYWHERE):
            return f"the network ACL of {nat.subnet_id}, the subnet of {gateway.id}, is in the way"
        return None

    def _default_route(self, subnet_id: str) -> Any:
        routes = self._route_table(subnet_id).routes
        return next((route for route in routes if route.destination_cidr_block == str(_ANYWHERE)), None)

    def _is_internet_gateway(self, gateway: Any) -> bool:
        attached = self.ec2.internet_gateways.get(getattr(gateway, "id", None))
        return attached is not None and attached.vpc is not None and attached.vpc.id == self.interface.vpc_id

    # ---- security groups and network ACLs

    def _own_peer(self) -> Peer:
        return Peer(
            range=IPv4Network(self.interface.private_ip),
            group_ids=frozenset(self.interface.security_group_ids),
        )

    def _egress(self) -> Iterator[Any]:
        return rules_of(self.ec2, self.interface.security_group_ids, egress=True)

    def _group_names(self) -> str:
        return ", ".join(sorted(self.interface.security_group_ids))

    def _acl_allows(self, subnet_id: str, other: IPv4Network) -> bool:
        """Return whether the network ACL allows HTTPS out and the responses in."""
        out = entries_of(self.ec2, subnet_id, egress=True)
        back = entries_of(self.ec2, subnet_id, egress=False)
        return entries_allow(out, other=other, ports=(_HTTPS, _HTTPS)) and entries_allow(
            back, other=other, ports=_EPHEMERAL
        )

    def _acls_allow(self, subnet_id: str, other: IPv4Network) -> bool:
        """Both subnets' ACLs, between the task and an interface in the other subnet."""
        here = self._own_peer().range
        into = entries_of(self.ec2, subnet_id, egress=False)
        back = entries_of(self.ec2, subnet_id, egress=True)
        return (
            self._acl_allows(self.interface.subnet_id, other)
            and entries_allow(into, other=here, ports=(_HTTPS, _HTTPS))
            and entries_allow(back, other=here, ports=_EPHEMERAL)
        )


def _endpoint_type(endpoint: Any) -> str:
    return str(endpoint.vpc_endpoint_type or "Gateway").lower()

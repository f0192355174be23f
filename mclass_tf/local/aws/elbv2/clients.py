"""Decides which clients reach a listener, and which source address each of them has.

A security group sees the address of the packet. The DNS name of an internet-facing load balancer resolves to public addresses,
inside the VPC too, so a task reaches it through its NAT gateway and with that gateway's address. The name of an internal one
resolves to private addresses, which only the VPC and networks connected to it reach.
https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/how-elastic-load-balancing-works.html#load-balancer-scheme
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-update-security-groups.html
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from mclass_tf.local.aws.elbv2.reachability import Peer, entries_allow, entries_of, rules_allow, rules_of
from mclass_tf.local.balancer.snapshot import Clients
from mclass_tf.local.live import live
from mclass_tf.local.network import Interface

_ANYWHERE = "0.0.0.0/0"
_EPHEMERAL = (1024, 65535)
_HOST_OF_ALL = "127.0.0.1"
# `is_private` of ipaddress includes TEST-NET-3, which stands for the internet here.
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))


def clients(*, ec2: Any, load_balancer: Any, port: int) -> Clients:
    """Return the addresses that clients of a load balancer have at a port, None for those that do not reach it."""

    def admitted(peer: Peer | None) -> str | None:
        if peer is None or not _admits(ec2, load_balancer, peer=peer, port=port):
            return None
        return str(peer.range.network_address)

    return Clients(
        outside=admitted(_outside(ec2, load_balancer)),
        tasks={
            host: admitted(_task(ec2, load_balancer, interface, port=port))
            for interface in live.interfaces.all()
            for host in _hosts(interface)
        },
    )


def _outside(ec2: Any, load_balancer: Any) -> Peer | None:
    """Return the client outside the VPC, or inside if `--client-address` says so; None if no route leads from it."""
    address = IPv4Address(live.client_address)
    if any(address in network for network in _PRIVATE) == (load_balancer.scheme == "internal"):
        return Peer(range=IPv4Network(address))
    if load_balancer.scheme == "internal" or address not in IPv4Network(
        ec2.get_vpc(load_balancer.vpc_id).cidr_block
    ):
        return None
    gateways = (gateway for gateway in ec2.nat_gateways.values() if gateway.vpc_id == load_balancer.vpc_id)
    return next(filter(None, map(_public_peer, gateways)), None)


def _task(ec2: Any, load_balancer: Any, interface: Interface, *, port: int) -> Peer | None:
    groups = frozenset(interface.security_group_ids)
    if load_balancer.scheme == "internal":
        if interface.vpc_id != load_balancer.vpc_id:
            return None
        nodes = Peer(
            range=IPv4Network(ec2.get_vpc(load_balancer.vpc_id).cidr_block),
            group_ids=frozenset(load_balancer.security_groups or ()),
        )
        is_let_out = rules_allow(rules_of(ec2, groups, egress=True), other=nodes, port=port)
        return Peer(range=IPv4Network(interface.private_ip), group_ids=groups) if is_let_out else None
    anywhere = Peer(range=IPv4Network(_ANYWHERE))
    if not rules_allow(rules_of(ec2, groups, egress=True), other=anywhere, port=port):
        return None
    gateway = _nat_gateway(ec2, interface)
    return None if gateway is None else _public_peer(gateway)


def _nat_gateway(ec2: Any, interface: Interface) -> Any:
    """Return the NAT gateway to which the default route of the task's subnet leads, or None."""
    tables = [table for table in ec2.route_tables.values() if table.vpc_id == interface.vpc_id]
    own = [
        table
        for table in tables
        if interface.subnet_id in {association.get("SubnetId") for association in table.associations}
    ]
    main = [table for table in tables if table.main_association_id is not None]
    for table in (own or main)[:1]:
        for route in table.routes:
            if route.destination_cidr_block == _ANYWHERE and route.nat_gateway is not None:
                return ec2.nat_gateways.get(route.nat_gateway.id)
    return None


def _public_peer(gateway: Any) -> Peer | None:
    if gateway.state != "available" or gateway.connectivity_type == "private":
        return None
    address = next((each.get("publicIp") for each in gateway.address_set if each.get("publicIp")), None)
    return None if address is None else Peer(range=IPv4Network(address))


def _hosts(interface: Interface) -> set[str]:
    """Return the addresses of a task on this machine. Where all tasks share one, none is the task's own."""
    return {host for host, _ in interface.ports.values()} - {_HOST_OF_ALL}


def _admits(ec2: Any, load_balancer: Any, *, peer: Peer, port: int) -> bool:
    """Return whether security groups and network ACLs let the client in. A DNS name leads to each subnet's node."""
    groups = frozenset(load_balancer.security_groups or ())
    if not rules_allow(rules_of(ec2, groups, egress=False), other=peer, port=port):
        return False
    return all(
        entries_allow(entries_of(ec2, subnet.id, egress=False), other=peer.range, ports=(port, port))
        and entries_allow(entries_of(ec2, subnet.id, egress=True), other=peer.range, ports=_EPHEMERAL)
        for subnet in load_balancer.subnets
    )

"""Decides whether a load balancer can reach a target through security groups and network ACLs.

Both are in the same VPC, so a local route always exists.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-update-security-groups.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from mclass_tf.local.live import live
from mclass_tf.local.network import Interface

_TCP = {"tcp", "6", "-1"}
_ANY_PROTOCOL = "-1"
_EPHEMERAL = (1024, 65535)  # source ports of the load balancer's nodes


@dataclass(frozen=True, kw_only=True)
class GroupRule:
    """A rule of a security group. The peers are CIDR ranges (also those of a prefix list) or the members of a group."""

    protocol: str
    ports: tuple[int, int] | None = None
    ranges: tuple[str, ...] = ()
    group_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class AclEntry:
    """An entry of a network ACL, in one direction. The matching entry with the lowest number decides."""

    number: int
    protocol: str
    is_allow: bool
    range: str
    ports: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One end of a connection: the range that contains its address, and its security groups."""

    range: IPv4Network
    group_ids: frozenset[str] = frozenset()


def rules_allow(rules: Iterable[GroupRule], *, other: Peer, port: int) -> bool:
    """Return whether a rule allows TCP on the port from or to the whole range of the other end."""
    return any(_rule_allows(rule, other=other, port=port) for rule in rules)


def _rule_allows(rule: GroupRule, *, other: Peer, port: int) -> bool:
    if rule.protocol not in _TCP:
        return False
    if rule.protocol != _ANY_PROTOCOL and not _covers(rule.ports, (port, port)):
        return False
    if rule.group_id is not None:
        return rule.group_id in other.group_ids
    return any(other.range.subnet_of(IPv4Network(entry, strict=False)) for entry in rule.ranges)


def entries_allow(entries: Iterable[AclEntry], *, other: IPv4Network, ports: tuple[int, int]) -> bool:
    """Return whether a network ACL allows TCP on all of the ports from or to the whole range of the other end.

    https://docs.aws.amazon.com/vpc/latest/userguide/nacl-rules.html
    """
    for entry in sorted(entries, key=lambda entry: entry.number):
        if entry.protocol not in _TCP:
            continue
        network = IPv4Network(entry.range, strict=False)
        own = None if entry.protocol == _ANY_PROTOCOL else entry.ports
        if entry.is_allow and other.subnet_of(network) and (own is None or _covers(own, ports)):
            return True
        if not entry.is_allow and other.overlaps(network) and (own is None or _overlaps(own, ports)):
            return False
    return False


def _covers(wide: tuple[int, int] | None, narrow: tuple[int, int]) -> bool:
    # In EC2, -1 means all ports.
    return wide is not None and (wide == (-1, -1) or (wide[0] <= narrow[0] and narrow[1] <= wide[1]))


def _overlaps(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one == (-1, -1) or (one[0] <= other[1] and other[0] <= one[1])


# ---- from moto's objects


def address(*, ec2: Any, load_balancer: Any, ip: str, port: int) -> tuple[str, int] | None:
    """Return the address of a target on this machine, or None if the load balancer cannot reach it."""
    interface = live.interfaces.find(vpc_id=load_balancer.vpc_id, private_ip=ip)
    if interface is None or port not in interface.ports:
        return None
    if not all(
        _is_open(ec2, load_balancer, subnet, interface=interface, port=port)
        for subnet in load_balancer.subnets
    ):
        return None
    return interface.ports[port]


def _is_open(ec2: Any, load_balancer: Any, subnet: Any, *, interface: Interface, port: int) -> bool:
    node_groups = frozenset(load_balancer.security_groups or ())
    node = Peer(range=IPv4Network(subnet.cidr_block), group_ids=node_groups)
    task = Peer(range=IPv4Network(interface.private_ip), group_ids=frozenset(interface.security_group_ids))
    if not rules_allow(rules_of(ec2, node.group_ids, egress=True), other=task, port=port):
        return False
    if not rules_allow(rules_of(ec2, task.group_ids, egress=False), other=node, port=port):
        return False
    if subnet.id == interface.subnet_id:
        return True  # an ACL filters only traffic that enters or leaves its subnet
    request, response = (port, port), _EPHEMERAL
    return (
        entries_allow(entries_of(ec2, subnet.id, egress=True), other=task.range, ports=request)
        and entries_allow(entries_of(ec2, interface.subnet_id, egress=False), other=node.range, ports=request)
        and entries_allow(entries_of(ec2, interface.subnet_id, egress=True), other=node.range, ports=response)
        and entries_allow(entries_of(ec2, subnet.id, egress=False), other=task.range, ports=response)
    )


def rules_of(ec2: Any, group_ids: Iterable[str], *, egress: bool) -> Iterator[GroupRule]:
    """Yield the rules of the existing groups, in one direction."""
    for group_id in group_ids:
        group = ec2.get_security_group_from_id(group_id)
        if group is None:
            continue
        for rule in group.egress_rules if egress else group.ingress_rules:
            yield GroupRule(
                protocol=str(rule.ip_protocol),
                ports=None if rule.from_port is None else (int(rule.from_port), int(rule.to_port)),
                ranges=_ranges(ec2, rule),
                group_id=(rule.source_group or {}).get("GroupId"),
            )


def _ranges(ec2: Any, rule: Any) -> tuple[str, ...]:
    if rule.prefix_list_id:
        return tuple(_prefixes(ec2, rule.prefix_list_id))
    cidr = (rule.ip_range or {}).get("CidrIp")
    return (cidr,) if cidr else ()


def _prefixes(ec2: Any, prefix_list_id: str) -> Sequence[str]:
    prefix_list = ec2.managed_prefix_lists.get(prefix_list_id)
    if prefix_list is None:
        return []
    latest = [*prefix_list.entries.values()][-1:]  # in moto, AWS-managed lists have no version
    entries = prefix_list.entries.get(prefix_list.version) or (latest[0] if latest else [])
    return [entry["Cidr"] for entry in entries]


def entries_of(ec2: Any, subnet_id: str, *, egress: bool) -> Iterator[AclEntry]:
    """Yield the entries of the subnet's network ACL, in one direction. In moto, every subnet has an ACL."""
    for acl in ec2.network_acls.values():
        if subnet_id not in {association.subnet_id for association in acl.associations}:
            continue
        for entry in acl.network_acl_entries:
            if _is_true(entry.egress) == egress and entry.cidr_block:
                yield AclEntry(
                    number=int(entry.rule_number),
                    protocol=str(entry.protocol),
                    is_allow=entry.rule_action == "allow",
                    range=entry.cidr_block,
                    ports=None
                    if entry.port_range_from is None
                    else (int(entry.port_range_from), int(entry.port_range_to)),
                )


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"

"""Security group rules as plain values: which port is open to whom."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Shorter prefixes cover more than the networks of any one organisation.
_WIDE_V4 = 8
_WIDE_V6 = 16


@dataclass(frozen=True, kw_only=True)
class Opening:
    """Ports `first` to `last` of a protocol, open to one peer: a CIDR, a security group or a prefix list."""

    protocol: str
    first: int
    last: int
    peer: str

    def __str__(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.protocol} {ports} with {self.peer}"

    def covers(self, port: int) -> bool:
        return self.protocol in ("tcp", "all") and self.first <= port <= self.last

    @property
    def is_internet(self) -> bool:
        network = _network(self.peer)
        if network is None:
            return False
        limit = _WIDE_V4 if network.version == 4 else _WIDE_V6  # noqa: PLR2004
        return network.prefixlen < limit

    def holds_network(self, cidr: str) -> bool:
        """Tell whether the peer is a CIDR that contains all of `cidr`."""
        outer, inner = _network(self.peer), _network(cidr)
        if isinstance(outer, ipaddress.IPv4Network) and isinstance(inner, ipaddress.IPv4Network):
            return inner.subnet_of(outer)
        return False

    def lies_in(self, cidrs: Sequence[str]) -> bool:
        """Tell whether the peer is a CIDR within one of `cidrs`."""
        peer = _network(self.peer)
        return any(
            isinstance(peer, ipaddress.IPv4Network)
            and isinstance(outer := _network(cidr), ipaddress.IPv4Network)
            and peer.subnet_of(outer)
            for cidr in cidrs
        )


def ingress(group: Mapping[str, Any]) -> tuple[Opening, ...]:
    return tuple(_openings(group.get("IpPermissions", [])))


def egress(group: Mapping[str, Any]) -> tuple[Opening, ...]:
    return tuple(_openings(group.get("IpPermissionsEgress", [])))


def _openings(permissions: Sequence[Mapping[str, Any]]) -> Iterator[Opening]:
    for permission in permissions:
        everything = permission["IpProtocol"] == "-1"
        protocol = "all" if everything else str(permission["IpProtocol"])
        first = 0 if everything else int(permission.get("FromPort", 0))
        last = 65535 if everything else int(permission.get("ToPort", 65535))
        for peer in _peers(permission):
            yield Opening(protocol=protocol, first=first, last=last, peer=peer)


def _peers(permission: Mapping[str, Any]) -> Iterator[str]:
    yield from (item["CidrIp"] for item in permission.get("IpRanges", []))
    yield from (item["CidrIpv6"] for item in permission.get("Ipv6Ranges", []))
    yield from (item["GroupId"] for item in permission.get("UserIdGroupPairs", []))
    yield from (item["PrefixListId"] for item in permission.get("PrefixListIds", []))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None

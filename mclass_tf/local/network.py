"""The network interfaces of running tasks: where an address of the VPC really is on this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Interface:
    """One elastic network interface. `ports` gives, by container port, the address on this machine that answers."""

    id: str
    private_ip: str
    mac_address: str
    subnet_id: str
    vpc_id: str
    availability_zone: str
    security_group_ids: tuple[str, ...]
    ports: Mapping[int, tuple[str, int]] = field(default_factory=dict)


class Interfaces:
    """All interfaces, by VPC and private address. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attached: dict[tuple[str, str], Interface] = {}

    def attach(self, interface: Interface) -> None:
        """Add the interface, or replace the one of the same address."""
        with self._lock:
            self._attached[interface.vpc_id, interface.private_ip] = interface

    def detach(self, interface: Interface) -> None:
        with self._lock:
            self._attached.pop((interface.vpc_id, interface.private_ip), None)

    def find(self, *, vpc_id: str, private_ip: str) -> Interface | None:
        with self._lock:
            return self._attached.get((vpc_id, private_ip))

"""The network interfaces of running tasks: maps addresses of the VPC to addresses on this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Interface:
    """An elastic network interface. `ports` maps container ports to addresses on this machine."""

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
        """Add an interface, or replace the one with the same address."""
        with self._lock:
            self._attached[interface.vpc_id, interface.private_ip] = interface

    def detach(self, interface: Interface) -> None:
        with self._lock:
            self._attached.pop((interface.vpc_id, interface.private_ip), None)

    def all(self) -> tuple[Interface, ...]:
        with self._lock:
            return tuple(self._attached.values())

    def find(self, *, vpc_id: str, private_ip: str) -> Interface | None:
        with self._lock:
            return self._attached.get((vpc_id, private_ip))

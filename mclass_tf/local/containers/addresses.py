"""Allocates loopback addresses, so that many processes can listen on the same port."""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Mapping, Sequence

_LOOPBACK = "127.0.0.1"
_TRIES = 20


class NoAddressError(Exception):
    """No address has all of the requested ports free. The message says what to do."""


class Addresses:
    """Allocates addresses that nothing listens on.

    On Linux, all of 127.0.0.0/8 is loopback. Each task gets its own address there, with the same ports as on AWS. On other systems
    there is only 127.0.0.1, and each task gets its own port.
    """

    def __init__(self, *, has_one_address: bool = sys.platform != "linux") -> None:
        self._has_one_address = has_one_address
        self._taken: set[tuple[str, int]] = set()
        self._random = random.SystemRandom()

    def take(self, ports: Sequence[int]) -> Mapping[int, tuple[str, int]]:
        """Return an address for each of the container's ports; raise NoAddressError.

        The port differs from the container's if another process has bound it on all addresses, or if only root may bind it.
        """
        by_port = None if self._has_one_address else self._same_ports(ports)
        if by_port is None:
            if len(ports) > 1:
                raise NoAddressError(
                    f"the ports {', '.join(map(str, ports))} are not free together on any address of this machine, and a "
                    "process can be told of one port alone: stop what listens there, or run tasks by podman or docker"
                )
            by_port = {port: self._free_port() for port in ports}
        self._taken.update(by_port.values())
        return by_port

    def give_back(self, addresses: Mapping[int, tuple[str, int]]) -> None:
        self._taken.difference_update(addresses.values())

    def _same_ports(self, ports: Sequence[int]) -> dict[int, tuple[str, int]] | None:
        for _ in range(_TRIES):
            # Not 127.0.x.y, which distributions and users already use.
            host = f"127.{self._random.randint(1, 254)}.{self._random.randint(0, 255)}.{self._random.randint(1, 254)}"
            if all(self._is_free(host, port) for port in ports):
                return {port: (host, port) for port in ports}
        return None

    def _free_port(self) -> tuple[str, int]:
        for _ in range(_TRIES):
            with socket.socket() as probe:
                probe.bind((_LOOPBACK, 0))
                address = (_LOOPBACK, int(probe.getsockname()[1]))
            if address not in self._taken:
                return address
        raise NoAddressError("this machine has no free port")

    def _is_free(self, host: str, port: int) -> bool:
        if (host, port) in self._taken:
            return False
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
        return True

"""Addresses of this machine's loopback for processes that each want the same port."""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Mapping, Sequence

_LOOPBACK = "127.0.0.1"
_TRIES = 20


class NoAddressError(Exception):
    """There is no address with those ports; the message says what to do."""


class Addresses:
    """Gives out addresses that nothing listens on, to one task at a time.

    All of 127.0.0.0/8 is this machine on Linux, so that each task has an address with the ports that it has on AWS. Elsewhere
    there is one address, and each task has a port of its own on it.
    """

    def __init__(self, *, is_one: bool = sys.platform != "linux") -> None:
        self._is_one = is_one
        self._taken: set[tuple[str, int]] = set()
        self._random = random.SystemRandom()

    def take(self, ports: Sequence[int]) -> Mapping[int, tuple[str, int]]:
        """Return an address for each of the container's ports; raise NoAddressError.

        Where something has bound the port on all addresses, or only root may bind it, the port is another one.
        """
        by_port = None if self._is_one else self._own(ports)
        if by_port is None:
            if len(ports) > 1:
                raise NoAddressError(
                    f"the ports {', '.join(map(str, ports))} are not free together on any address of this machine, and a "
                    "process can be told of one port alone: stop what listens there, or run tasks by podman or docker"
                )
            by_port = {port: self._other() for port in ports}
        self._taken.update(by_port.values())
        return by_port

    def give_back(self, addresses: Mapping[int, tuple[str, int]]) -> None:
        self._taken.difference_update(addresses.values())

    def _own(self, ports: Sequence[int]) -> dict[int, tuple[str, int]] | None:
        for _ in range(_TRIES):
            # Not 127.0.x.y, where people and distributions put things of their own.
            host = f"127.{self._random.randint(1, 254)}.{self._random.randint(0, 255)}.{self._random.randint(1, 254)}"
            if all(self._is_free(host, port) for port in ports):
                return {port: (host, port) for port in ports}
        return None

    def _other(self) -> tuple[str, int]:
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

"""Limits the connections of this process to its descriptors, and disconnects idle clients to admit new ones."""

from __future__ import annotations

import contextlib
import resource
from time import monotonic

from mclass_tf.local.balancer.protocols import AdmittedClient

_RESERVED = 128  # descriptors: listeners, pipes, health checks
_MIN_CLIENTS, _MAX_CLIENTS = 16, 20_000  # clients
_DESCRIPTORS_PER_CLIENT = 3  # client connection, target connection, idle pooled connection
_IDLE_SECONDS = 1.0  # without a byte, before a client that keeps us waiting may be disconnected
_MAX_CANDIDATES = 64  # clients examined before a new one is rejected


def raise_limit() -> None:
    """Raise the soft limit on descriptors to the hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports no limit but rejects that value
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Capacity:
    """Admits at most `clients` clients over all listeners. When full, disconnects a client that keeps the load balancer waiting.

    AWS's load balancers scale, and count rejected connections in RejectedConnectionCount:
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
    """

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self.idle = max(_MIN_CLIENTS, clients // 4)  # connections in the pool of one target
        self._admitted: dict[AdmittedClient, None] = {}  # in the order of examination

    @classmethod
    def for_this_process(cls) -> Capacity:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors == resource.RLIM_INFINITY:
            return cls(_MAX_CLIENTS)
        return cls(min(max((descriptors - _RESERVED) // _DESCRIPTORS_PER_CLIENT, _MIN_CLIENTS), _MAX_CLIENTS))

    def admit(self, client: AdmittedClient) -> bool:
        if len(self._admitted) >= self.clients and not self._make_room():
            return False
        self._admitted[client] = None
        return True

    def remove(self, client: AdmittedClient) -> None:
        self._admitted.pop(client, None)

    def _make_room(self) -> bool:
        now = monotonic()
        for _ in range(min(_MAX_CANDIDATES, len(self._admitted))):
            client = next(iter(self._admitted))
            del self._admitted[client]
            if client.is_awaiting_client and now - client.touched > _IDLE_SECONDS:
                client.disconnect()
                return True
            self._admitted[client] = None
        return False

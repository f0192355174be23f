"""A listener's current rules and settings, and its connected clients."""

from __future__ import annotations

from mclass_tf.local.balancer import access_log, snapshot
from mclass_tf.local.balancer.capacity import Capacity
from mclass_tf.local.balancer.completed import CompletedRequest
from mclass_tf.local.balancer.protocols import ListenerClient
from mclass_tf.local.balancer.rules import CompiledRule
from mclass_tf.local.balancer.settings import BalancerSettings
from mclass_tf.local.balancer.telemetry import Counts, Telemetry

_READ = 64 * 1024  # bytes per read from a client, and so the most that waits unread


class ListenerState:
    """Each request reads it again, so connections survive changes of rules and settings."""

    def __init__(self, arn: str, *, telemetry: Telemetry, capacity: Capacity) -> None:
        self.arn = arn
        self.telemetry = telemetry
        self.capacity = capacity
        self.clients: set[ListenerClient] = set()
        self.buffer = memoryview(bytearray(_READ))  # shared by all clients: data is copied out immediately
        self.rules: tuple[CompiledRule, ...] = ()
        self.settings = BalancerSettings()
        self.load_balancer_arn = ""
        self.dns_name = b""
        self.admission = snapshot.Clients()
        self.port = 0
        self.protocol = "HTTP"
        self.is_closed = False

    def update(
        self,
        listener: snapshot.Listener,
        *,
        load_balancer: snapshot.LoadBalancer,
        settings: BalancerSettings,
        rules: tuple[CompiledRule, ...],
    ) -> None:
        self.rules, self.settings = rules, settings
        self.load_balancer_arn = load_balancer.arn
        self.dns_name = load_balancer.dns_name.encode()
        self.port, self.protocol = listener.port, listener.protocol
        self.admission = listener.clients

    def close(self) -> None:
        """Let requests under way finish, and accept no new ones."""
        self.is_closed = True
        for client in tuple(self.clients):
            client.listener_closed()

    def counts(self, target_group_arn: str | None = None) -> Counts:
        return self.telemetry.of(self.load_balancer_arn, target_group_arn)

    def log(self, completed: CompletedRequest) -> None:
        if self.settings.logs_access:
            self.telemetry.log(self.load_balancer_arn, access_log.line(completed))

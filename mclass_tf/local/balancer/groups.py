"""The state of target groups: health and load of their targets, and the choice of the target for the next request.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html
"""

from __future__ import annotations

import math
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from mclass_tf.local.balancer.protocols import OutstandingRequest, PooledConnection
from mclass_tf.local.balancer.settings import GroupSettings
from mclass_tf.local.balancer.snapshot import Target, TargetGroup

_STEPS = 1 << 20  # resolution of a random share


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthState:
    """A target's health, with the values of DescribeTargetHealth."""

    state: str
    reason: str | None = None
    description: str | None = None


INITIAL = HealthState(
    state="initial", reason="Elb.InitialHealthChecking", description="Initial health checks in progress"
)
HEALTHY = HealthState(state="healthy")
DRAINING = HealthState(
    state="draining",
    reason="Target.DeregistrationInProgress",
    description="Target deregistration is in progress",
)
UNUSED = HealthState(
    state="unused",
    reason="Target.NotInUse",
    description="Target group is not configured to receive traffic from the load balancer",
)


class TargetState:
    """One registered target. `idle` are its pooled connections, the last used one at the end."""

    __slots__ = (
        "_requests",
        "address",
        "group",
        "health",
        "idle",
        "ip",
        "is_draining",
        "is_gone",
        "name",
        "port",
        "slow_since",
    )

    def __init__(self, group: GroupState, target: Target) -> None:
        self.group = group
        self.ip, self.port = target.ip, target.port
        self.name = f"{target.ip}:{target.port}"
        self.address = target.address
        self.is_draining = target.is_draining
        self.is_gone = False
        self.health = INITIAL
        self.slow_since: float | None = None  # None: not in slow start
        self.idle: list[PooledConnection] = []
        self._requests: set[OutstandingRequest] = set()

    @property
    def state(self) -> HealthState:
        if self.is_draining:
            return DRAINING
        return self.health if self.group.is_used else UNUSED

    def reset_health(self) -> None:
        """Reset the health, as health checks have stopped."""
        self.health, self.slow_since = INITIAL, None

    def close_idle(self) -> None:
        for connection in tuple(self.idle):
            connection.close()
        self.idle.clear()

    @property
    def outstanding(self) -> int:
        """The number of unanswered requests."""
        return len(self._requests)

    def begin(self, request: OutstandingRequest) -> None:
        self._requests.add(request)

    def end(self, request: OutstandingRequest) -> None:
        self._requests.discard(request)

    def cancel_all(self) -> None:
        for request in tuple(self._requests):
            request.cancel()


class GroupState:
    """A target group. It lives as long as snapshots name it, so that its targets keep their state."""

    def __init__(self, configuration: TargetGroup, *, now: Callable[[], float]) -> None:
        self._now = now
        self.arn = configuration.arn
        self.name = configuration.name
        self.is_used = True
        self.speed = 1.0
        self.targets: dict[tuple[str, int], TargetState] = {}
        self._available: list[TargetState] = []
        self._turn = 0
        self.configuration = configuration
        self.settings = GroupSettings.of(configuration.attributes)
        self.tls = target_tls() if configuration.protocol == "HTTPS" else None

    def update(self, configuration: TargetGroup) -> list[TargetState]:
        """Apply settings and targets; return the deregistered targets."""
        self.configuration = configuration
        self.settings = GroupSettings.of(configuration.attributes)
        registered = {(target.ip, target.port): target for target in configuration.targets}
        gone = [state for key, state in self.targets.items() if key not in registered]
        for state in gone:
            state.is_gone = True
            del self.targets[state.ip, state.port]
        for key, target in registered.items():
            if key in self.targets:
                self._refresh(self.targets[key], target)
            else:
                self.targets[key] = TargetState(self, target)
        self.arrange()
        return gone

    def retire(self) -> list[TargetState]:
        """Delete the group; return its targets."""
        targets = list(self.targets.values())
        for target in targets:
            target.is_gone = True
        self.targets.clear()
        self.arrange()
        return targets

    def arrange(self) -> None:
        """Update the targets that get requests: the healthy ones, or all if too few are healthy.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health.html
        """
        registered = [target for target in self.targets.values() if not target.is_draining]
        healthy = [target for target in registered if target.health is HEALTHY]
        fewest = max(
            self.settings.fewest_healthy,
            math.ceil(len(registered) * self.settings.fewest_healthy_percentage / 100),
        )
        self._available = healthy if len(healthy) >= fewest else registered

    def health_changed(self, target: TargetState) -> None:
        """Update the targets that get requests. A newly healthy target enters slow start.

        The first healthy target skips slow start, because somebody has to take the load.
        """
        self.arrange()
        if target.health is not HEALTHY:
            target.slow_since = None
            return
        others = (other for other in self.targets.values() if other is not target)
        steady = any(other.health is HEALTHY and not self._is_slow(other) for other in others)
        target.slow_since = self._now() if self.settings.slow_start and steady else None

    def choose(self) -> TargetState | None:
        """Return the target for the next request; None if no target is registered."""
        available = self._available
        if len(available) < 2:  # noqa: PLR2004
            return available[0] if available else None
        if self.settings.algorithm == "least_outstanding_requests":
            self._turn += 1
            start = self._turn % len(available)
            return min(available[start:] + available[:start], key=lambda target: target.outstanding)
        return self._next()

    def find(self, name: str) -> TargetState | None:
        """Return the target with this `ip:port` if it may get requests."""
        return next((target for target in self._available if target.name == name), None)

    def _next(self) -> TargetState:
        """Choose by round robin. A target in slow start takes a turn with the probability of its share."""
        available = self._available
        for _ in range(len(available)):
            self._turn = (self._turn + 1) % len(available)
            target = available[self._turn]
            if target.slow_since is None or secrets.randbelow(_STEPS) < self._share(target) * _STEPS:
                return target
        return available[self._turn]

    def _share(self, target: TargetState) -> float:
        if target.slow_since is None or not self.settings.slow_start:
            return 1.0
        share = (self._now() - target.slow_since) * self.speed / self.settings.slow_start
        if share >= 1:
            target.slow_since = None
        return share

    def _is_slow(self, target: TargetState) -> bool:
        return self._share(target) < 1

    @staticmethod
    def _refresh(state: TargetState, target: Target) -> None:
        state.is_draining = target.is_draining
        if state.address != target.address:
            state.address = target.address
            state.close_idle()
        if state.is_draining:
            state.slow_since = None
            state.close_idle()


def target_tls() -> ssl.SSLContext:
    """Return the TLS context for targets: encrypted, without verification of certificates.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html#target-group-routing-configuration
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

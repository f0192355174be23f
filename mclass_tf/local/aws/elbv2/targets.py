"""The targets of one target group: registration, health and draining."""

from __future__ import annotations

from dataclasses import dataclass

from mclass_tf.local.balancer.report import Health

REGISTERING = ("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
DRAINING = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
NOT_REGISTERED = ("unused", "Target.NotRegistered", "Target is not registered to the target group")
NOT_IN_USE = (
    "unused",
    "Target.NotInUse",
    "Target group is not configured to receive traffic from the load balancer",
)
ZONE_NOT_ENABLED = (
    "unused",
    "Target.NotInUse",
    "Target is in an Availability Zone that is not enabled for the load balancer",
)


@dataclass(frozen=True, kw_only=True)
class TargetHealth:
    """A target as DescribeTargetHealth returns it; `since` is the time of its last change (seconds since the epoch).

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
    """

    ip: str
    port: int
    state: str
    reason: str | None
    description: str | None
    since: float

    @property
    def is_draining(self) -> bool:
        return self.state == DRAINING[0]


class Targets:
    """`now` is in seconds since the epoch, `delay` the deregistration delay in real seconds.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html#deregistration-delay
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], TargetHealth] = {}

    def register(self, ip: str, port: int, *, now: float) -> None:
        """Register a new or draining target. A registered target stays unchanged."""
        known = self._known.get((ip, port))
        if known is None or known.is_draining:
            self._set(ip, port, REGISTERING, now=now)

    def deregister(self, ip: str, port: int, *, now: float) -> None:
        """Start draining a target. A draining target keeps its delay, and an unknown one is ignored, as in AWS."""
        known = self._known.get((ip, port))
        if known is not None and not known.is_draining:
            self._set(ip, port, DRAINING, now=now)

    def remove(self, ip: str, port: int) -> None:
        """Remove a target without draining it."""
        self._known.pop((ip, port), None)

    def take(self, health: Health, *, now: float) -> bool:
        """Store a health check result, and return whether it changed anything. Draining and unknown targets ignore it."""
        known = self._known.get((health.ip, health.port))
        status = (health.state, health.reason, health.description)
        if known is None or known.is_draining or _status(known) == status:
            return False
        self._set(health.ip, health.port, status, now=now)
        return True

    def restart(self, *, now: float) -> None:
        """Reset the health of every target that is not draining, because its health checks ended or moved elsewhere."""
        for known in self._known.values():
            if not known.is_draining:
                self._set(known.ip, known.port, REGISTERING, now=now)

    def all(self, *, now: float, delay: float) -> list[TargetHealth]:
        """Return the registered and draining targets, in the order of registration."""
        drained = [
            key for key, known in self._known.items() if known.is_draining and known.since + delay <= now
        ]
        for key in drained:
            del self._known[key]
        return list(self._known.values())

    def next_end(self, *, delay: float) -> float | None:
        """Return when the next target finishes draining."""
        return min((known.since + delay for known in self._known.values() if known.is_draining), default=None)

    def _set(self, ip: str, port: int, status: tuple[str, str | None, str | None], *, now: float) -> None:
        state, reason, description = status
        self._known[ip, port] = TargetHealth(
            ip=ip, port=port, state=state, reason=reason, description=description, since=now
        )


def _status(known: TargetHealth) -> tuple[str, str | None, str | None]:
    return known.state, known.reason, known.description

"""The targets of one target group: registered, checked, draining, gone."""

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
    """A target as DescribeTargetHealth gives it, and since when (seconds since the epoch) it has been so.

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
    """Every method takes the time, in seconds since the epoch; `delay` is the deregistration delay in real seconds.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html#deregistration-delay
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], TargetHealth] = {}

    def register(self, ip: str, port: int, *, now: float) -> None:
        """Nothing changes for a target that is registered; one that drains begins anew."""
        known = self._known.get((ip, port))
        if known is None or known.is_draining:
            self._set(ip, port, REGISTERING, now=now)

    def deregister(self, ip: str, port: int, *, now: float) -> None:
        """The delay of a target that drains already goes on; an unknown target is no error, as in AWS."""
        known = self._known.get((ip, port))
        if known is not None and not known.is_draining:
            self._set(ip, port, DRAINING, now=now)

    def remove(self, ip: str, port: int) -> None:
        """Remove a target that has nothing to drain."""
        self._known.pop((ip, port), None)

    def take(self, health: Health, *, now: float) -> bool:
        """Take a result of the health checks; return whether it is news. For a target that drains or is gone it never is."""
        known = self._known.get((health.ip, health.port))
        status = (health.state, health.reason, health.description)
        if known is None or known.is_draining or _status(known) == status:
            return False
        self._set(health.ip, health.port, status, now=now)
        return True

    def restart(self, *, now: float) -> None:
        """Have every target checked anew: nobody checks it any more, or somebody else does."""
        for known in self._known.values():
            if not known.is_draining:
                self._set(known.ip, known.port, REGISTERING, now=now)

    def all(self, *, now: float, delay: float) -> list[TargetHealth]:
        """Return those that are registered or drain, in the order of their registration."""
        drained = [
            key for key, known in self._known.items() if known.is_draining and known.since + delay <= now
        ]
        for key in drained:
            del self._known[key]
        return list(self._known.values())

    def next_end(self, *, delay: float) -> float | None:
        """Return when the next target will have drained."""
        return min((known.since + delay for known in self._known.values() if known.is_draining), default=None)

    def _set(self, ip: str, port: int, status: tuple[str, str | None, str | None], *, now: float) -> None:
        state, reason, description = status
        self._known[ip, port] = TargetHealth(
            ip=ip, port=port, state=state, reason=reason, description=description, since=now
        )


def _status(known: TargetHealth) -> tuple[str, str | None, str | None]:
    return known.state, known.reason, known.description

"""Reports of the load balancers' process to the control plane: one JSON document per line on standard output.

Each has a `kind`, the lower-case name of a class below, and the fields of this class.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The snapshot of this version is in force for all new requests."""

    version: int


@dataclass(frozen=True, kw_only=True)
class Listening:
    """The address of a listener on this machine."""

    listener_arn: str
    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Health:
    """A target's new health. `state`, `reason` and `description` are those of TargetHealth in DescribeTargetHealth."""

    target_group_arn: str
    ip: str
    port: int
    state: str
    reason: str | None = None
    description: str | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The traffic of one load balancer in the second that began at `at` (seconds since the epoch).

    `counts` has the names of CloudWatch's metrics in AWS/ApplicationELB (RequestCount, HTTPCode_Target_2XX_Count,
    HTTPCode_ELB_502_Count, TargetConnectionErrorCount, …); `response_times` are TargetResponseTime's samples, in seconds.
    `target_group_arn` None: traffic that never reached a target group. `by_rule` is RequestCount by the ARN of the listener rule, which
    CloudWatch does not have.
    """

    at: float
    load_balancer_arn: str
    target_group_arn: str | None
    counts: Mapping[str, float]
    response_times: tuple[float, ...] = ()
    by_rule: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A request that the load balancer answered with its own error, or broke off.

    `reason`: "no_targets", "connection_refused", "connection_timeout", "closed_while_idle" (the target had closed a kept-alive
    connection before the request reached it), "closed_in_flight" (the target closed the connection, or died, when it had the
    request and had answered nothing), "answer_cut_off" (the same, after a part of the answer), "deregistration_delay" (the
    target had not answered when its deregistration delay ended), "idle_timeout", "malformed_response". `path` is truncated to
    2,048 characters. `in_flight_seconds`: how long the target had the request. A client that disconnects (460) is no failure.
    """

    at: float
    load_balancer_arn: str
    target_group_arn: str | None
    target: str | None
    target_is_draining: bool
    status: int
    reason: str
    method: str
    path: str
    in_flight_seconds: float


@dataclass(frozen=True, kw_only=True)
class AccessLog:
    """Lines of a load balancer's access log, in AWS's format."""

    load_balancer_arn: str
    lines: tuple[str, ...] = field(default=())


Report = Applied | Listening | Health | Metrics | Failure | AccessLog
_KINDS: Mapping[str, Callable[..., Report]] = {
    kind.__name__.lower(): kind for kind in (Applied, Listening, Health, Metrics, Failure, AccessLog)
}


def to_json(report: Report) -> str:
    """Return the report as one line of JSON."""
    return json.dumps({"kind": type(report).__name__.lower(), **vars(report)}, separators=(",", ":"))


def from_json(text: str | bytes) -> Report:
    document = json.loads(text)
    kind = _KINDS[document.pop("kind")]
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
    )

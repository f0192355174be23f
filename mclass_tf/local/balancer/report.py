"""What the load balancers' process tells the control plane: one JSON document a line on its standard output.

Each has a `kind`, the name of the class below in lower case, and the class's fields.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The snapshot of this version is in force for every request that comes from now on."""

    version: int


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where a listener's traffic is taken on this machine."""

    listener_arn: str
    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Health:
    """A target's health has changed. `state`, `reason` and `description` are TargetHealth's, as DescribeTargetHealth gives it."""

    target_group_arn: str
    ip: str
    port: int
    state: str
    reason: str | None = None
    description: str | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What passed through one load balancer in the second that began at `at` (seconds since the epoch).

    `counts` by the names of CloudWatch's metrics in AWS/ApplicationELB (RequestCount, HTTPCode_Target_2XX_Count,
    HTTPCode_ELB_502_Count, TargetConnectionErrorCount, …); `response_times` are TargetResponseTime's samples, in seconds.
    `target_group_arn` None: what never reached a target group. `by_listener` is RequestCount by the listener's ARN, which
    CloudWatch does not tell.
    """

    at: float
    load_balancer_arn: str
    target_group_arn: str | None
    counts: Mapping[str, float]
    response_times: tuple[float, ...] = ()
    by_listener: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A request that the load balancer itself had to answer with an error, or had to break off.

    `reason`: "no_targets", "connection_refused", "connection_timeout", "closed_while_idle" (a kept-alive connection that the
    target closed under the request), "closed_in_flight" (the target closed, or died, while it worked on the request),
    "deregistration_delay" (the target was still at it when its deregistration delay was over), "idle_timeout",
    "malformed_response". `path` is cut off at 2,048 characters. `in_flight_seconds`: how long the request had been at the target.
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
    """Return it as one line."""
    return json.dumps({"kind": type(report).__name__.lower(), **vars(report)}, separators=(",", ":"))


def from_json(text: str | bytes) -> Report:
    document = json.loads(text)
    kind = _KINDS[document.pop("kind")]
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
    )

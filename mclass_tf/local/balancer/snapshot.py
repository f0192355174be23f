"""The configuration that the control plane sends to the load balancers' process, complete at every change.

Each is one line of JSON on standard input. Reports (`report.py`) come back the same way on standard output.
Conditions and actions have the shape of the API: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Target:
    """`address` is its address on this machine; None: packets get no answer (no such task, or a closed security group)."""

    ip: str
    port: int
    address: tuple[str, int] | None
    is_draining: bool = False


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """Times in seconds as AWS counts them. `matcher` as in the API: "200", "200,204", "200-299"."""

    protocol: str = "HTTP"
    path: str = "/"
    port: str = "traffic-port"
    interval: float = 30
    timeout: float = 5
    healthy_threshold: int = 5
    unhealthy_threshold: int = 2
    matcher: str = "200"


@dataclass(frozen=True, kw_only=True)
class TargetGroup:
    """`attributes` by their names in the API, such as "slow_start.duration_seconds"."""

    arn: str
    name: str
    protocol: str
    health_check: HealthCheck
    attributes: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`priority` is None for the listener's default rule, which has no conditions."""

    arn: str
    priority: int | None
    conditions: tuple[Mapping[str, Any], ...]
    actions: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Clients:
    """The addresses that clients of a listener have in AWS; None: packets of such a client get no answer.

    `tasks` are those of tasks, by their addresses on this machine. `outside` is that of every other client.
    """

    outside: str | None = "203.0.113.25"
    tasks: Mapping[str, str | None] = field(default_factory=dict)

    def source(self, host: str) -> str | None:
        """Return the address of the client with this address on this machine; None if it gets no answer."""
        return self.tasks.get(host, self.outside)


@dataclass(frozen=True, kw_only=True)
class Listener:
    """`rules` are in order of evaluation, the default last. The PEM texts are set if `protocol` is HTTPS."""

    arn: str
    port: int
    protocol: str
    rules: tuple[Rule, ...]
    certificate: str | None = None
    private_key: str | None = None
    clients: Clients = Clients()


@dataclass(frozen=True, kw_only=True)
class LoadBalancer:
    """`attributes` by their names in the API, such as "idle_timeout.timeout_seconds"."""

    arn: str
    name: str
    dns_name: str
    listeners: tuple[Listener, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """`speed` is the clock's: the factor by which health check intervals, slow start and draining are faster than in AWS."""

    version: int
    speed: float
    load_balancers: tuple[LoadBalancer, ...]
    target_groups: tuple[TargetGroup, ...]

    def to_json(self) -> str:
        """Return the snapshot as one line of JSON."""
        return json.dumps(self, default=vars, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Snapshot:
        document = json.loads(text)
        return cls(
            version=document["version"],
            speed=document["speed"],
            load_balancers=tuple(_load_balancer(entry) for entry in document["load_balancers"]),
            target_groups=tuple(_target_group(entry) for entry in document["target_groups"]),
        )


def _load_balancer(document: dict[str, Any]) -> LoadBalancer:
    return LoadBalancer(
        **{**document, "listeners": tuple(_listener(entry) for entry in document["listeners"])}
    )


def _listener(document: dict[str, Any]) -> Listener:
    rules = tuple(
        Rule(**{**rule, "conditions": tuple(rule["conditions"]), "actions": tuple(rule["actions"])})
        for rule in document["rules"]
    )
    return Listener(**{**document, "rules": rules, "clients": Clients(**document["clients"])})


def _target_group(document: dict[str, Any]) -> TargetGroup:
    targets = tuple(
        Target(**{**target, "address": target["address"] and (target["address"][0], target["address"][1])})
        for target in document["targets"]
    )
    return TargetGroup(
        **{**document, "health_check": HealthCheck(**document["health_check"]), "targets": targets}
    )

"""Builds the snapshot for the load balancer process from the backends of all accounts and regions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moto.acm.models import acm_backends
from moto.ec2 import ec2_backends
from moto.elbv2.models import elbv2_backends
from moto.iam.models import iam_backends

from mclass_tf.local.aws.elbv2 import reachability
from mclass_tf.local.aws.elbv2.clients import clients
from mclass_tf.local.balancer.snapshot import (
    HealthCheck,
    Listener,
    LoadBalancer,
    Rule,
    Snapshot,
    Target,
    TargetGroup,
)
from mclass_tf.local.live import live


@dataclass(frozen=True, kw_only=True)
class OwnedLoadBalancer:
    """A load balancer with its account, region and backend."""

    account_id: str
    region: str
    load_balancer: Any
    backend: Any


@dataclass(frozen=True, kw_only=True)
class BuiltSnapshot:
    """`next_end`: when (seconds since the epoch) the next target finishes draining and another snapshot is due."""

    snapshot: Snapshot
    next_end: float | None


def load_balancers() -> Iterator[OwnedLoadBalancer]:
    """Yield every load balancer. Call it under the API lock."""
    for account_id, regions in list(elbv2_backends.items()):
        for region, backend in list(regions.items()):
            for load_balancer in list(backend.load_balancers.values()):
                yield OwnedLoadBalancer(
                    account_id=account_id, region=region, load_balancer=load_balancer, backend=backend
                )


def build(version: int) -> BuiltSnapshot:
    """Return a snapshot of the current state. Call it under the API lock."""
    owned_balancers = list(load_balancers())
    groups = [
        (owned, group)
        for owned in owned_balancers
        for group in owned.backend.target_groups.values()
        if owned.load_balancer.arn in group.load_balancer_arns
    ]
    ends = [owned.backend.next_drained(group.arn) for owned, group in groups]
    snapshot = Snapshot(
        version=version,
        speed=live.clock.speed,
        load_balancers=tuple(_load_balancer(owned) for owned in owned_balancers),
        target_groups=tuple(_target_group(owned, group) for owned, group in groups),
    )
    return BuiltSnapshot(
        snapshot=snapshot, next_end=min((end for end in ends if end is not None), default=None)
    )


def certificate(owned: OwnedLoadBalancer, arn: str) -> tuple[str, str]:
    """Return a certificate of ACM or IAM and its private key, in PEM format."""
    managed = acm_backends[owned.account_id][owned.region]._certificates.get(arn)  # noqa: SLF001
    if managed is not None:
        return _text(managed.cert), _text(managed.key)
    uploaded = iam_backends[owned.account_id]["aws"].get_certificate_by_arn(arn)
    return _text(uploaded.cert_body), _text(uploaded.private_key)


def _load_balancer(owned: OwnedLoadBalancer) -> LoadBalancer:
    balancer = owned.load_balancer
    return LoadBalancer(
        arn=balancer.arn,
        name=balancer.name,
        dns_name=balancer.dns_name,
        listeners=tuple(_listener(owned, entry) for entry in balancer.listeners.values()),
        attributes=_attributes(balancer.attrs),
    )


def _listener(owned: OwnedLoadBalancer, listener: Any) -> Listener:
    pair = certificate(owned, listener.certificate) if listener.protocol == "HTTPS" else (None, None)
    return Listener(
        arn=listener.arn,
        port=int(listener.port),
        protocol=listener.protocol,
        rules=tuple(_rule(entry) for entry in sorted(listener.rules.values(), key=_order)),
        certificate=pair[0],
        private_key=pair[1],
        clients=clients(
            ec2=ec2_backends[owned.account_id][owned.region],
            load_balancer=owned.load_balancer,
            port=int(listener.port),
        ),
    )


def _order(rule: Any) -> float:
    return float("inf") if rule.is_default else int(rule.priority)


def _rule(rule: Any) -> Rule:
    return Rule(
        arn=rule.arn,
        priority=None if rule.is_default else int(rule.priority),
        conditions=tuple(dict(condition) for condition in rule.conditions),
        actions=tuple(dict(action.data) for action in rule.actions),
    )


def _target_group(owned: OwnedLoadBalancer, group: Any) -> TargetGroup:
    return TargetGroup(
        arn=group.arn,
        name=group.name,
        protocol=group.protocol,
        health_check=HealthCheck(
            protocol=group.health_check_protocol,
            path=group.health_check_path or "/",
            port=str(group.health_check_port),
            interval=float(group.health_check_interval_seconds),
            timeout=float(group.health_check_timeout_seconds),
            healthy_threshold=int(group.healthy_threshold_count),
            unhealthy_threshold=int(group.unhealthy_threshold_count),
            matcher=str(group.matcher["HttpCode"]),
        ),
        attributes=_attributes(group.attributes),
        targets=tuple(_targets(owned, group)),
    )


def _targets(owned: OwnedLoadBalancer, group: Any) -> Iterator[Target]:
    ec2 = ec2_backends[owned.account_id][owned.region]
    for entry in owned.backend.target_health(group.arn):
        if entry.state != "unused":
            yield Target(
                ip=entry.ip,
                port=entry.port,
                address=reachability.address(
                    ec2=ec2, load_balancer=owned.load_balancer, ip=entry.ip, port=entry.port
                ),
                is_draining=entry.is_draining,
            )


def _attributes(attributes: Any) -> dict[str, str]:
    return {name: str(value) for name, value in attributes.items()}


def _text(pem: bytes | str) -> str:
    return pem.decode() if isinstance(pem, bytes) else pem

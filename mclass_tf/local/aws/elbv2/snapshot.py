"""Makes the snapshot for the load balancers' process out of what the calls of AWS have left, in all accounts and regions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moto.acm.models import acm_backends
from moto.ec2 import ec2_backends
from moto.elbv2.models import elbv2_backends
from moto.iam.models import iam_backends

from mclass_tf.local.aws.elbv2 import reachability
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
class Owned:
    """A load balancer with whose it is."""

    account_id: str
    region: str
    load_balancer: Any
    backend: Any


@dataclass(frozen=True, kw_only=True)
class Built:
    """`next_end`: when (seconds since the epoch) the next target will have drained, and another snapshot is due."""

    snapshot: Snapshot
    next_end: float | None


def load_balancers() -> Iterator[Owned]:
    """Every load balancer. Call it under the lock of the calls."""
    for account_id, regions in list(elbv2_backends.items()):
        for region, backend in list(regions.items()):
            for load_balancer in list(backend.load_balancers.values()):
                yield Owned(
                    account_id=account_id, region=region, load_balancer=load_balancer, backend=backend
                )


def build(version: int) -> Built:
    """Return the snapshot as of now. Call it under the lock of the calls."""
    found = list(load_balancers())
    groups = [
        (owned, group)
        for owned in found
        for group in owned.backend.target_groups.values()
        if owned.load_balancer.arn in group.load_balancer_arns
    ]
    ends = [owned.backend.next_drained(group.arn) for owned, group in groups]
    snapshot = Snapshot(
        version=version,
        speed=live.clock.speed,
        load_balancers=tuple(_load_balancer(owned) for owned in found),
        target_groups=tuple(_target_group(owned, group) for owned, group in groups),
    )
    return Built(snapshot=snapshot, next_end=min((end for end in ends if end is not None), default=None))


def certificate(owned: Owned, arn: str) -> tuple[str, str]:
    """Return a certificate of ACM or IAM and its private key, as PEM texts."""
    found = acm_backends[owned.account_id][owned.region]._certificates.get(arn)  # noqa: SLF001
    if found is not None:
        return _text(found.cert), _text(found.key)
    uploaded = iam_backends[owned.account_id]["aws"].get_certificate_by_arn(arn)
    return _text(uploaded.cert_body), _text(uploaded.private_key)


def _load_balancer(owned: Owned) -> LoadBalancer:
    found = owned.load_balancer
    return LoadBalancer(
        arn=found.arn,
        name=found.name,
        dns_name=found.dns_name,
        listeners=tuple(_listener(owned, entry) for entry in found.listeners.values()),
        attributes=_attributes(found.attrs),
    )


def _listener(owned: Owned, found: Any) -> Listener:
    pair = certificate(owned, found.certificate) if found.protocol == "HTTPS" else (None, None)
    return Listener(
        arn=found.arn,
        port=int(found.port),
        protocol=found.protocol,
        rules=tuple(_rule(entry) for entry in sorted(found.rules.values(), key=_order)),
        certificate=pair[0],
        private_key=pair[1],
    )


def _order(rule: Any) -> float:
    return float("inf") if rule.is_default else int(rule.priority)


def _rule(found: Any) -> Rule:
    return Rule(
        arn=found.arn,
        priority=None if found.is_default else int(found.priority),
        conditions=tuple(dict(condition) for condition in found.conditions),
        actions=tuple(dict(action.data) for action in found.actions),
    )


def _target_group(owned: Owned, found: Any) -> TargetGroup:
    return TargetGroup(
        arn=found.arn,
        name=found.name,
        protocol=found.protocol,
        health_check=HealthCheck(
            protocol=found.health_check_protocol,
            path=found.health_check_path or "/",
            port=str(found.health_check_port),
            interval=float(found.health_check_interval_seconds),
            timeout=float(found.health_check_timeout_seconds),
            healthy_threshold=int(found.healthy_threshold_count),
            unhealthy_threshold=int(found.unhealthy_threshold_count),
            matcher=str(found.matcher["HttpCode"]),
        ),
        attributes=_attributes(found.attributes),
        targets=tuple(_targets(owned, found)),
    )


def _targets(owned: Owned, group: Any) -> Iterator[Target]:
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


def _attributes(found: Any) -> dict[str, str]:
    return {name: str(value) for name, value in found.items()}


def _text(pem: bytes | str) -> str:
    return pem.decode() if isinstance(pem, bytes) else pem

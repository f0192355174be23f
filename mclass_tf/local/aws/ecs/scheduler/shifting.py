"""Shifts the traffic of a service: rewrites its listener rules and records the traffic shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mclass_tf.local.aws.ecs.model.deployment import Deployment
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.stages import StageStep
from mclass_tf.local.aws.ecs.scheduler.serving import other_deployment
from mclass_tf.local.aws.ecs.scheduler.traffic import weights_for
from mclass_tf.local.aws.ecs.scheduler.world import SchedulerWorld

_PRODUCTION, _TEST = "productionListenerRule", "testListenerRule"
_WHOLE = 100.0


@dataclass(frozen=True, kw_only=True)
class _Route:
    """A listener rule, the target group of the primary deployment, the other target group, and the role that modifies the rule."""

    rule: str
    own: str
    other: str
    role_arn: str | None


def shift_traffic(step: StageStep, *, service: Service, world: SchedulerWorld) -> None:
    """Shift traffic as the step says. Raise TrafficError if a rule cannot be modified."""
    for kind, share in ((_PRODUCTION, step.production), (_TEST, step.test)):
        for route in _routes(service, kind):
            if step.wires:
                _add_missing_group(route, service=service, world=world)
            if share is not None:
                _shift(route, share, service=service, world=world)
    record_shares(service, production=step.production, test=step.test)


def record_shares(service: Service, *, production: float | None, test: float | None) -> None:
    """Record the traffic shares in per cent. None leaves a share unchanged."""
    other = other_deployment(service)
    has_test_rule = any(_routes(service, _TEST))
    for deployment in service.deployments:
        if production is not None:
            deployment.production = _share(deployment, production, service=service, other=other)
        if test is not None and has_test_rule:
            deployment.test = _share(deployment, test, service=service, other=other)


def _share(deployment: Deployment, share: float, *, service: Service, other: Deployment | None) -> float:
    if deployment is service.primary:
        return share
    return _WHOLE - share if deployment is other else 0.0


def _routes(service: Service, kind: str) -> Iterator[_Route]:
    for load_balancer, own in service.primary.revision.load_balancer_groups():
        advanced: Mapping[str, str] = load_balancer.get("advancedConfiguration") or {}
        groups = {load_balancer["targetGroupArn"], advanced.get("alternateTargetGroupArn")}
        if advanced.get(kind):
            yield _Route(
                rule=advanced[kind],
                own=own,
                other=str((groups - {own}).pop()),
                role_arn=advanced.get("roleArn"),
            )


def _add_missing_group(route: _Route, *, service: Service, world: SchedulerWorld) -> None:
    """Add the missing target group to the rule, without moving traffic, so that the load balancer checks its targets."""
    weights = world.weights(service.account_id, service.region, route.rule)
    if weights and not {route.own, route.other} <= set(weights):
        _shift(route, _WHOLE if route.own in weights else 0.0, service=service, world=world)


def _shift(route: _Route, share: float, *, service: Service, world: SchedulerWorld) -> None:
    weights = weights_for(share, own=route.own, other=route.other)
    world.shift(service.account_id, service.region, route.rule, weights, role_arn=route.role_arn)

"""Compares, before a paused rollout continues, where ECS has both versions with where production traffic goes.

ECS shifts traffic by its own record. It looks neither at the weights in force nor at the targets behind them.
https://github.com/aws/containers-roadmap/issues/2853
https://github.com/hashicorp/terraform-provider-aws/issues/45678
"""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf import verify
from mclass_tf.flows.deployer.wiring import groups_of_revision, production_weights
from mclass_tf.rollout import Patience
from mclass_tf.service import Ecs, ServiceDeployment
from mclass_tf.session import Session

_WITHIN = 15.0  # seconds within which a target may become healthy again
_PAUSE = 1.0
_ROLLING = "ROLLING"


def find_contradiction(
    session: Session,
    outputs: verify.Outputs,
    ecs: Ecs,
    deployment: ServiceDeployment,
    *,
    patience: Patience,
) -> str:
    """Return what contradicts a shift of production traffic, "" if nothing does.

    What ECS does not say contradicts nothing.
    """
    if deployment.strategy == _ROLLING:
        return ""
    shared = _shared_groups(ecs, deployment, patience=patience)
    if shared:
        return f"ECS has the old and the new version in one target group, {', '.join(map(_name, shared))}"
    began = patience.clock()
    while True:
        empty = sorted(_groups_without_healthy_target(session, outputs, ecs, patience=patience))
        if not empty:
            return ""
        if patience.clock() - began >= _WITHIN:
            names = ", ".join(map(_name, empty))
            return f"the rule of production traffic sends requests to {names}, where no target is healthy"
        patience.wait(_PAUSE)


def _shared_groups(ecs: Ecs, deployment: ServiceDeployment, *, patience: Patience) -> list[str]:
    """Return the target groups of the new version if they hold every old version, too."""
    new = set(groups_of_revision(ecs, deployment.target_revision_arn, patience=patience))
    shared = new
    for arn in deployment.source_revision_arns:
        shared = shared & set(groups_of_revision(ecs, arn, patience=patience))
    return sorted(shared) if deployment.source_revision_arns else []


def _groups_without_healthy_target(
    session: Session, outputs: verify.Outputs, ecs: Ecs, *, patience: Patience
) -> Iterator[str]:
    weights = patience(lambda: production_weights(session, outputs))
    for arn, weight in weights.items():
        states = patience(lambda: ecs.target_states([arn])) if weight else {}  # noqa: B023  # called at once
        if weight and "healthy" not in states.values():
            yield arn


def _name(target_group_arn: str) -> str:
    """Return the name in an ARN that ends with targetgroup/NAME/ID."""
    return target_group_arn.split("/")[-2] if target_group_arn.count("/") > 1 else target_group_arn

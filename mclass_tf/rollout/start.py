"""Starts a service deployment and finds which one it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mclass_tf.errors import Hint, RolloutError
from mclass_tf.rollout.client import Client, Patience
from mclass_tf.service import ONGOING, ServiceDeployment

_FOUND_WITHIN = 60.0  # seconds; ECS takes a moment to list what UpdateService has started
_PAUSE = 0.5


BeforeUpdate = Callable[[], Mapping[str, Any]]
"""Is called just before UpdateService; returns what is to be added to its settings."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the service is told: the task definition to run, and how many; `desired` None: as many as now.

    `settings` are further ones of UpdateService, by its names.
    """

    task_definition_arn: str
    desired: int | None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Started:
    """A service deployment under way. `seen` are the ids of the service's events from before, `at` is the clock's.

    `is_adopted`: it was under way already.
    """

    service_deployment_arn: str
    task_definition_arn: str
    seen: frozenset[str]
    at: float
    is_adopted: bool = False


def ongoing(client: Client) -> ServiceDeployment | None:
    """Return the service deployment that is not over; None where the service is at rest."""
    return next((each for each in client.service_deployments() if each.status in ONGOING), None)


def start(
    client: Client,
    order: Order,
    *,
    patience: Patience,
    before_update: BeforeUpdate = dict,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> Started:
    """Update the service; return the service deployment that came of it.

    Of several that are new, ours is the one whose revision runs our task definition: somebody else may have updated the
    service at the same time. Asked to run what it runs already, ECS would start none, so it is told to.
    """
    before = patience(client.service)
    known = {each.arn for each in patience(client.service_deployments)}
    began = clock()
    force = before.task_definition_arn == order.task_definition_arn
    settings = _merged(order.settings, before_update())
    patience(
        lambda: client.update(
            task_definition=order.task_definition_arn,
            desired=order.desired,
            force=force,
            settings=settings,
        )
    )
    while clock() - began < _FOUND_WITHIN:
        # The oldest first: a later one would be somebody's who has started the same again.
        for deployment in reversed(patience(client.service_deployments)):
            if deployment.arn not in known and _runs(client, deployment, order, patience=patience):
                return Started(
                    service_deployment_arn=deployment.arn,
                    task_definition_arn=order.task_definition_arn,
                    seen=frozenset(event.id for event in before.events),
                    at=began,
                )
        wait(_PAUSE)
    raise RolloutError(
        f"ECS lists no service deployment of {order.task_definition_arn} {_FOUND_WITHIN:g} s after it was asked for one",
        hint=Hint("somebody else may have updated the service at the same moment: ", ("status", "ENV")),
        cause="the service deployment did not start",
    )


def _merged(settings: Mapping[str, Any], added: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return both; of a deployment configuration in both, what is added goes over the other."""
    name = "deploymentConfiguration"
    both = {name: {**settings[name], **added[name]}} if name in settings and name in added else {}
    return {**settings, **added, **both}


def _runs(client: Client, deployment: ServiceDeployment, order: Order, *, patience: Patience) -> bool:
    revision = patience(lambda: client.revision_task_definition(deployment.target_revision_arn))
    return revision == order.task_definition_arn

"""Starts a service deployment and identifies it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mclass_tf.errors import Hint, RevisionGoneError, RolloutError
from mclass_tf.rollout.client import EcsClient, Patience
from mclass_tf.service import ONGOING, Service, ServiceDeployment

_FOUND_WITHIN = 60.0  # seconds; ECS lists a deployment some time after UpdateService
_PAUSE, _LONGEST_PAUSE = 0.5, 3.0


BeforeUpdate = Callable[[], Mapping[str, Any]]
"""Called just before UpdateService; returns settings to add."""


@dataclass(frozen=True, kw_only=True)
class ServiceUpdate:
    """The task definition and desired count for UpdateService; `desired` None keeps the count.

    `settings` are further parameters of UpdateService, by their names.
    """

    task_definition_arn: str
    desired: int | None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StartedRollout:
    """A service deployment under way. `seen` are the ids of earlier service events, `at` is a time of the monotonic clock.

    `is_adopted`: it was under way already.
    """

    service_deployment_arn: str
    task_definition_arn: str
    seen: frozenset[str]
    at: float
    is_adopted: bool = False


def ongoing(client: EcsClient) -> ServiceDeployment | None:
    """Return the service deployment under way; None if the service is at rest."""
    return next(iter(client.service_deployments(statuses=ONGOING)), None)


def await_service(client: EcsClient, is_current: Callable[[Service], bool], *, patience: Patience) -> Service:
    """Return the service once `is_current` accepts its description, or the last description after a minute.

    DescribeServices may lag behind UpdateService: "the ECS API follows an eventual consistency model".
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
    """
    began = patience.clock()
    while True:
        service = patience(client.service)
        if is_current(service) or patience.clock() - began >= _FOUND_WITHIN:
            return service
        patience.wait(_PAUSE)


def start(
    client: EcsClient,
    order: ServiceUpdate,
    *,
    patience: Patience,
    before_update: BeforeUpdate = dict,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> StartedRollout:
    """Update the service; return the service deployment that this starts.

    Of several new ones, ours is the one whose service revision has our task definition: somebody else may have updated the
    service at the same time. ECS starts no deployment of a task definition that runs already, so that one is forced.
    """
    before = patience(client.service)
    # What UpdateService starts is newer than the tasks that run. ECS keeps months of older ones.
    since = before.primary.created_at if before.primary is not None else None
    list_newer = partial(client.service_deployments, since=since)
    known = {each.arn for each in patience(list_newer)}
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
    pause = _PAUSE
    while clock() - began < _FOUND_WITHIN:
        # Oldest first: a later one of the same task definition is somebody else's.
        for deployment in reversed(patience(list_newer)):
            if deployment.arn not in known and _runs(client, deployment, order, patience=patience):
                return StartedRollout(
                    service_deployment_arn=deployment.arn,
                    task_definition_arn=order.task_definition_arn,
                    seen=frozenset(event.id for event in before.events),
                    at=began,
                )
        wait(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    raise RolloutError(
        f"ECS lists no service deployment of {order.task_definition_arn} {_FOUND_WITHIN:g} s after it was asked for one",
        hint=Hint("somebody else may have updated the service at the same moment: ", ("status", "ENV")),
        cause="the service deployment did not start",
    )


def _merged(settings: Mapping[str, Any], added: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return both settings; merge their deployment configurations, in which `added` wins."""
    name = "deploymentConfiguration"
    both = {name: {**settings[name], **added[name]}} if name in settings and name in added else {}
    return {**settings, **added, **both}


def _runs(
    client: EcsClient, deployment: ServiceDeployment, order: ServiceUpdate, *, patience: Patience
) -> bool:
    try:
        revision = patience(lambda: client.revision_task_definition(deployment.target_revision_arn))
    except RevisionGoneError:
        return False  # not described yet: the answers of ECS become consistent after a while
    return revision == order.task_definition_arn

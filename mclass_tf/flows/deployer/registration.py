"""The container and port that the load balancer reaches: those of the task definition that a deployment brings.

`apply` leaves the service's wiring alone, so a changed `container.port` or `container.name` takes effect with the release, in the
call that brings the task definition into service. ECS then registers each task with the port of its own revision, and an automatic
rollback takes the old revision's. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html (loadBalancers)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mclass_tf.service import Service


@dataclass(frozen=True, kw_only=True)
class ContainerPort:
    """A container of a task definition, and a port that it listens on."""

    container: str
    port: int


def registered(
    settings: Mapping[str, Any],
    service: Service,
    task_definition: Mapping[str, Any],
    *,
    applied: ContainerPort,
) -> dict[str, Any]:
    """Return the settings of UpdateService; with `loadBalancers` if `task_definition` is reached otherwise than what runs.

    `applied` is preferred if the task definition has several ports.
    """
    sent: Sequence[Mapping[str, Any]] = settings.get("loadBalancers") or service.load_balancers
    known = _ports(task_definition)
    entries = [_reached(entry, known, applied=applied) for entry in sent]
    if "loadBalancers" not in settings and entries == [dict(entry) for entry in service.load_balancers]:
        return dict(settings)
    return {**settings, "loadBalancers": entries} if entries else dict(settings)


def _ports(task_definition: Mapping[str, Any]) -> list[ContainerPort]:
    return [
        ContainerPort(container=str(each["name"]), port=int(mapping["containerPort"]))
        for each in task_definition.get("containerDefinitions") or ()
        for mapping in each.get("portMappings") or ()
        if each.get("name") and mapping.get("containerPort")
    ]


def _reached(
    entry: Mapping[str, Any], known: Sequence[ContainerPort], *, applied: ContainerPort
) -> dict[str, Any]:
    """Return the load balancer entry with a container and port that the task definition has."""
    now = ContainerPort(container=str(entry.get("containerName")), port=int(entry.get("containerPort") or 0))
    same_name = [each for each in known if each.container in (applied.container, now.container)]
    for choice in (applied, now, *same_name, *known):
        if choice in known:
            return {**entry, "containerName": choice.container, "containerPort": choice.port}
    return dict(entry)

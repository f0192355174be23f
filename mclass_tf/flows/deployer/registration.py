"""The container and port that the load balancer reaches: those of the task definition that a deployment brings.

`apply` leaves the service's wiring alone, so a changed `container.port` or `container.name` takes effect with the release, in the
call that brings the task definition into service. ECS then registers each task with the port of its own revision, and an automatic
rollback takes the old revision's. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html (loadBalancers)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    find_group: Callable[[], str] = str,
) -> dict[str, Any]:
    """Return the settings of UpdateService; with `loadBalancers` if `task_definition` is reached otherwise than what runs.

    `applied` is preferred if the task definition has several ports. `find_group` returns the target group in use, "" if ECS
    does not say: it is asked only where the settings do not name it, and the service has two.
    """
    others = {name: value for name, value in settings.items() if name != "loadBalancers"}
    sent: Sequence[Mapping[str, Any]] = settings.get("loadBalancers") or service.load_balancers
    known = _ports(task_definition)
    entries = [_reached(entry, known, applied=applied) for entry in sent]
    # ECS takes what is sent for the truth about the target group in use, so nothing is sent that it has already.
    now = service.load_balancers
    if not entries or (len(entries) == len(now) and all(map(_is_known, entries, now))):
        return others
    if "loadBalancers" not in settings and any(map(_alternate, entries)):
        group = find_group()
        entries = [_in_use(entry, group) for entry in entries]
    return {**others, "loadBalancers": entries}


def _alternate(entry: Mapping[str, Any]) -> str:
    return str((entry.get("advancedConfiguration") or {}).get("alternateTargetGroupArn") or "")


def _is_known(entry: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether the service has this entry, as far as ECS says."""
    reached = all(now.get(name) in (None, entry.get(name)) for name in ("containerName", "containerPort"))
    return reached and groups_and_rules(entry) == groups_and_rules(now)


def groups_and_rules(entry: Mapping[str, Any]) -> tuple[frozenset[str], object, object]:
    """Return the target groups of a load balancer entry, its production rule and its test rule.

    Which of the target groups is the alternate one says nothing: ECS swaps them at every shift.
    """
    advanced = entry.get("advancedConfiguration") or {}
    groups = frozenset({str(entry.get("targetGroupArn") or ""), _alternate(entry)})
    return groups, advanced.get("productionListenerRule"), advanced.get("testListenerRule")


def _in_use(entry: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Return the entry with `group` as the target group in use, if it is the alternate one."""
    if not group or group != _alternate(entry):
        return dict(entry)
    advanced = {**entry["advancedConfiguration"], "alternateTargetGroupArn": entry["targetGroupArn"]}
    return {**entry, "targetGroupArn": group, "advancedConfiguration": advanced}


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

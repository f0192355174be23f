"""The task definition of a one-off task: the service's, with another command in the service's container."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mclass_tf.service import registrable

_SUFFIX = "-run"
_LONGEST = 255 - len(_SUFFIX)  # characters


def family(of_service: str) -> str:
    """Return the family of one-off task definitions for a service's family."""
    return f"{of_service[:_LONGEST]}{_SUFFIX}"


def definition(described: Mapping[str, Any], *, container: str, argv: Sequence[str]) -> dict[str, Any]:
    """Return the RegisterTaskDefinition document in which `container` runs `argv` and ends the task.

    Non-essential containers are dropped, unless an essential one or `container` depends on them.
    """
    document = registrable(described)
    containers = {own["name"]: own for own in described["containerDefinitions"]}
    kept = _needed(containers, container)
    document["family"] = family(described["family"])
    document["containerDefinitions"] = [
        _once(own, argv) if name == container else _beside(own, container)
        for name, own in containers.items()
        if name in kept
    ]
    return document


def _needed(containers: Mapping[str, Mapping[str, Any]], container: str) -> set[str]:
    """Return the names of `container`, the essential containers, and all their dependencies."""
    kept: set[str] = set()
    left = [container, *(name for name, own in containers.items() if own.get("essential", True))]
    while left:
        name = left.pop()
        if name not in kept:
            kept.add(name)
            left += _needs(containers, containers[name])
    return kept


def _needs(containers: Mapping[str, Mapping[str, Any]], own: Mapping[str, Any]) -> Iterator[str]:
    yield from (each["containerName"] for each in own.get("dependsOn") or ())
    yield from (each["sourceContainer"] for each in own.get("volumesFrom") or ())
    if (own.get("logConfiguration") or {}).get("logDriver") == "awsfirelens":
        yield from (name for name, other in containers.items() if other.get("firelensConfiguration"))


def _once(own: Mapping[str, Any], argv: Sequence[str]) -> dict[str, Any]:
    """Return the container with another command, without ports, health check and restarts."""
    dropped = ("portMappings", "healthCheck", "restartPolicy", "command")
    kept = {key: value for key, value in own.items() if key not in dropped}
    # Process 1 of a container ignores SIGTERM unless it handles it, so that a stop would take stopTimeout.
    # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LinuxParameters.html
    linux = {**(own.get("linuxParameters") or {}), "initProcessEnabled": True}
    command = {"command": list(argv[1:])} if argv[1:] else {}
    return {**kept, "essential": True, "linuxParameters": linux, "entryPoint": [argv[0]], **command}


def _beside(own: Mapping[str, Any], container: str) -> dict[str, Any]:
    """Return another container. It waits only for the start of `container`, which has no health check any more."""
    waited = [
        {**each, "condition": "START"}
        if (each["containerName"], each["condition"]) == (container, "HEALTHY")
        else each
        for each in own.get("dependsOn") or ()
    ]
    return {**own, "dependsOn": waited} if waited else dict(own)

"""The task definition of a one-off task: that of a service, with another command in the service's container."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mclass_tf.service import registrable

_SUFFIX = "-run"
_LONGEST = 255 - len(_SUFFIX)  # characters


def family(of_service: str) -> str:
    """Return the family of the one-off revisions, by the service's own."""
    return f"{of_service[:_LONGEST]}{_SUFFIX}"


def definition(described: Mapping[str, Any], *, container: str, argv: Sequence[str]) -> dict[str, Any]:
    """Return what registers a task definition like another one, in which `container` runs `argv` and ends the task.

    Containers that the service could do without go, unless `container` needs them.
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
    """Return the names of the essential containers, and of those that they need, and so on."""
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
    """Return the container with another command: no port, since it serves nobody; no health check, and no restart."""
    dropped = ("portMappings", "healthCheck", "restartPolicy", "command")
    kept = {key: value for key, value in own.items() if key not in dropped}
    # The first process of a container is not ended by a SIGTERM that it does not handle: to stop it would take its stopTimeout.
    # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LinuxParameters.html
    linux = {**(own.get("linuxParameters") or {}), "initProcessEnabled": True}
    command = {"command": list(argv[1:])} if argv[1:] else {}
    return {**kept, "essential": True, "linuxParameters": linux, "entryPoint": [argv[0]], **command}


def _beside(own: Mapping[str, Any], container: str) -> dict[str, Any]:
    """Return another container of the task; whose health it waited for has no health check now."""
    waited = [
        {**each, "condition": "START"}
        if (each["containerName"], each["condition"]) == (container, "HEALTHY")
        else each
        for each in own.get("dependsOn") or ()
    ]
    return {**own, "dependsOn": waited} if waited else dict(own)

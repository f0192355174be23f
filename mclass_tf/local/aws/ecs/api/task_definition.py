"""Validates task definitions as ECS does, and adds what ECS adds."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mclass_tf.local.aws.ecs.model.errors import client, denied, invalid
from mclass_tf.local.aws.ecs.model.images import ARCHITECTURES, architecture_of

_GIB = 1024
_LONGEST_STOP_TIMEOUT = 120
_EPHEMERAL_GIB = range(21, 200 + 1)
_CONDITIONS = ("START", "COMPLETE", "SUCCESS", "HEALTHY")
_CONTAINER_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_PATH = re.compile(r"/[^:\0]*")
_PORTS = range(1, 65535 + 1)
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
_LARGEST = 64 * 1024
_MOST_CONTAINERS = 10
_FAMILY = re.compile(r"[A-Za-z0-9_-]{1,255}")
_HEALTH_BOUNDS = {
    "interval": range(5, 300 + 1),
    "retries": range(1, 10 + 1),
    "startPeriod": range(300 + 1),
    "timeout": range(2, 60 + 1),
}

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size
FARGATE_MEMORY: dict[int, tuple[int, ...]] = {
    256: (512, _GIB, 2 * _GIB),
    512: tuple(range(_GIB, 4 * _GIB + 1, _GIB)),
    1024: tuple(range(2 * _GIB, 8 * _GIB + 1, _GIB)),
    2048: tuple(range(4 * _GIB, 16 * _GIB + 1, _GIB)),
    4096: tuple(range(8 * _GIB, 30 * _GIB + 1, _GIB)),
    8192: tuple(range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB)),
    16384: tuple(range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB)),
}


def check_task_definition(request: Mapping[str, Any], *, account_id: str) -> None:
    """Raise the errors of ECS. moto registers invalid task definitions."""
    check_text(request)
    if not _FAMILY.fullmatch(str(request.get("family"))):
        raise client("Family contains invalid characters, or more than 255 of them.")
    check_roles(request, account_id=account_id)
    if request.get("requiresCompatibilities") != ["FARGATE"]:
        raise invalid("The local AWS runs tasks on Fargate only: requiresCompatibilities must be [FARGATE].")
    if request.get("networkMode") != "awsvpc":
        raise client("Fargate only supports network mode 'awsvpc'.")
    check_size(cpu=str(request.get("cpu", "")), memory=str(request.get("memory", "")))
    containers = request.get("containerDefinitions") or []
    if not containers:
        raise client("Container list cannot be empty.")
    if len(containers) > _MOST_CONTAINERS:
        raise client(f"A task definition can have at most {_MOST_CONTAINERS} containers.")
    names = [container.get("name") for container in containers]
    if len(set(names)) != len(names):
        raise client("Container names must be unique within a task definition.")
    if not any(container.get("essential", True) for container in containers):
        raise client("At least one container in a task definition must be marked as essential.")
    _check_host(request)
    for container in containers:
        _check_fargate(container, volumes={volume.get("name") for volume in request.get("volumes") or []})
        _check_health(container)
        _check_container(container, has_execution_role=bool(request.get("executionRoleArn")))
    _check_dependencies(containers)


def check_text(request: Mapping[str, Any]) -> None:
    """Raise ClientException for a request that is too large or contains NUL, which no process can receive."""
    text = json.dumps(request, separators=(",", ":"), ensure_ascii=False)
    if len(text.encode(errors="replace")) > _LARGEST:
        raise client(f"The task definition is larger than {_LARGEST} bytes.")
    if any("\0" in word for word in _strings(request)):
        raise client("The task definition has a NUL character in it.")


def _strings(value: Any) -> Iterator[str]:
    """Yield every string in a document, including keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def check_environment(container: Mapping[str, Any]) -> None:
    """Raise ClientException for invalid names of environment variables."""
    for entry in container.get("environment") or []:
        if not entry.get("name") or "=" in entry["name"]:
            raise client(
                f"Container '{container.get('name')}': the name of an environment variable cannot be blank or have '=' in it."
            )


def describe_container(container: Mapping[str, Any]) -> dict[str, Any]:
    """Return the container as DescribeTaskDefinition does: awsvpc maps each port to itself."""
    ports = [
        {**mapping, "hostPort": mapping.get("containerPort"), "protocol": mapping.get("protocol") or "tcp"}
        for mapping in container.get("portMappings") or []
    ]
    return {"systemControls": [], **container, "portMappings": ports}


def check_roles(settings: Mapping[str, Any], *, account_id: str) -> None:
    """Raise AccessDeniedException for a role of another account."""
    for role in (settings.get("executionRoleArn"), settings.get("taskRoleArn")):
        if role and role.startswith("arn:") and f":iam::{account_id}:role/" not in role:
            raise denied("Cross-account pass role is not allowed.")


def check_size(*, cpu: str, memory: str) -> None:
    """Raise ClientException for a size that Fargate does not offer."""
    if not cpu or not memory:
        raise client("Fargate requires that 'cpu' and 'memory' be defined at the task level.")
    if not cpu.isdigit() or not memory.isdigit() or int(memory) not in FARGATE_MEMORY.get(int(cpu), ()):
        raise client(
            f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. "
            "See the Amazon ECS documentation for the valid values."
        )


def _check_host(request: Mapping[str, Any]) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html"""
    check_storage(request)
    architecture = architecture_of(request.get("runtimePlatform"))
    if architecture not in ARCHITECTURES:
        raise client(
            f"cpuArchitecture must be one of {', '.join(sorted(ARCHITECTURES))}, not {architecture}."
        )
    for volume in request.get("volumes") or []:
        if (volume.get("host") or {}).get("sourcePath") or volume.get("dockerVolumeConfiguration"):
            raise client(f"Volume '{volume.get('name')}': Fargate has no host to take a volume from.")


def check_storage(settings: Mapping[str, Any]) -> None:
    """Raise ClientException for ephemeral storage that Fargate does not offer."""
    storage = (settings.get("ephemeralStorage") or {}).get("sizeInGiB")
    if storage is not None and storage not in _EPHEMERAL_GIB:
        raise client(f"Ephemeral storage must be from 21 to 200 GiB, not {storage}.")


def _check_fargate(container: Mapping[str, Any], *, volumes: Collection[str | None]) -> None:
    name = container.get("name")
    linux = container.get("linuxParameters") or {}
    if container.get("privileged"):
        raise client(f"Container '{name}': Fargate does not support privileged containers.")
    for unsupported in ("devices", "maxSwap", "sharedMemorySize", "swappiness", "tmpfs"):
        if linux.get(unsupported):
            raise client(f"Container '{name}': Fargate does not support linuxParameters.{unsupported}.")
    if set((linux.get("capabilities") or {}).get("add") or []) - {"SYS_PTRACE"}:
        raise client(f"Container '{name}': Fargate adds no capability but SYS_PTRACE.")
    check_environment(container)
    for mount in container.get("mountPoints") or []:
        if not _PATH.fullmatch(str(mount.get("containerPath"))):
            raise client(
                f"Container '{name}': containerPath must be an absolute path without a colon, not "
                f"'{mount.get('containerPath')}'."
            )
        if mount.get("sourceVolume") not in volumes:
            raise client(f"Unknown volume '{mount.get('sourceVolume')}'.")
    plain = {entry.get("name") for entry in container.get("environment") or []}
    if plain & {entry.get("name") for entry in container.get("secrets") or []}:
        raise client(
            "The secret name must be unique and not shared with any new or existing environment variables."
        )


def _check_health(container: Mapping[str, Any]) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html"""
    check = container.get("healthCheck")
    if not check:
        return
    command = check.get("command") or [""]
    if command[0] not in {"CMD", "CMD-SHELL", "NONE"}:
        raise client(
            f"Container '{container.get('name')}': healthCheck.command must start with CMD or CMD-SHELL."
        )
    for setting, bounds in _HEALTH_BOUNDS.items():
        if check.get(setting) is not None and check[setting] not in bounds:
            raise client(
                f"Container '{container.get('name')}': healthCheck.{setting} must be from {bounds[0]} to {bounds[-1]}."
            )


def _check_dependencies(containers: Collection[Mapping[str, Any]]) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html"""
    by_name = {container.get("name"): container for container in containers}
    waiting = {name: _dependencies(container) for name, container in by_name.items()}
    for name, needed in waiting.items():
        for other, condition in needed:
            if other not in by_name:
                raise client(f"Container '{name}' depends on '{other}', which is not in the task definition.")
            if condition not in _CONDITIONS:
                raise client(
                    f"Container '{name}': the condition '{condition}' of a dependency must be one of "
                    f"{', '.join(_CONDITIONS)}."
                )
            if condition == "HEALTHY" and not _has_health_check(by_name[other]):
                raise client(
                    f"Container '{name}' depends on the health of '{other}', which has no health check."
                )
    while waiting:  # simulate the start: first the containers without open dependencies
        ready = [
            name for name, needed in waiting.items() if not {other for other, _ in needed} & waiting.keys()
        ]
        if not ready:
            raise client(f"The dependencies of the containers {', '.join(map(str, waiting))} form a cycle.")
        for name in ready:
            del waiting[name]


def _dependencies(container: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    return [
        (entry.get("containerName"), entry.get("condition")) for entry in container.get("dependsOn") or []
    ]


def _has_health_check(container: Mapping[str, Any]) -> bool:
    command = (container.get("healthCheck") or {}).get("command") or ["NONE"]
    return bool(command[0] != "NONE")


def _check_container(container: Mapping[str, Any], *, has_execution_role: bool) -> None:
    name = container.get("name")
    if not _CONTAINER_NAME.fullmatch(str(name)):
        raise client("Container name contains invalid characters, or more than 255 of them.")
    stop_timeout = container.get("stopTimeout") or 0
    if stop_timeout > _LONGEST_STOP_TIMEOUT:
        raise client(
            f"Container '{name}': stopTimeout must be at most {_LONGEST_STOP_TIMEOUT} seconds on Fargate."
        )
    for mapping in container.get("portMappings") or []:
        port = mapping.get("containerPort")
        if not isinstance(port, int) or port not in _PORTS:
            raise client(f"Container '{name}': containerPort must be a number from 1 to 65535, not {port!r}.")
        if mapping.get("hostPort") not in (None, 0, mapping.get("containerPort")):
            raise client(
                "When networkMode=awsvpc, the host ports and container ports in port mappings must match."
            )
    if has_execution_role:
        return
    if container.get("secrets"):
        raise client(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."
        )
    if (container.get("logConfiguration") or {}).get("logDriver") == "awslogs":
        raise client(
            "Fargate requires task definition to have execution role ARN to support log driver awslogs."
        )
    if ".dkr.ecr." in str(container.get("image")):
        raise client("Fargate requires task definition to have execution role ARN to support ECR images.")

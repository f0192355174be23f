"""The container that a driver starts: the settings of the task definition with the overrides of the task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mclass_tf.local.aws.ecs.model.task import Launch, Task
from mclass_tf.local.aws.ecs.tasks import variables
from mclass_tf.local.containers.driver import ContainerSpec

_STORAGE_GIB = 20  # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-storage.html


def driver_container(
    task: Task,
    definition: Mapping[str, Any],
    *,
    manifest_digest: str,
    output: Callable[[str], None],
    url: str,
    token: str,
) -> ContainerSpec:
    """Return what the driver starts. Raise secrets.NoSecretError. This reads moto's state: call it under the lock."""
    launch = task.launch
    override = override_of(launch, definition["name"])
    return ContainerSpec(
        name=definition["name"],
        task_id=task.id,
        manifest_digest=manifest_digest,
        environment=variables.container_variables(
            definition,
            launch=launch,
            override=override,
            metadata_url=f"{url}/v4/{token}",
            endpoint_url=url,
            credentials_url=f"{url}/v2/credentials/{token}" if launch.task_role_arn else None,
        ),
        output=output,
        command=override.get("command") or definition.get("command") or None,
        entry_point=definition.get("entryPoint") or None,
        working_directory=definition.get("workingDirectory"),
        user=definition.get("user"),
        is_root_read_only=bool(definition.get("readonlyRootFilesystem")),
        writable_paths=_writable_paths(definition),
        ports=tuple(mapping["containerPort"] for mapping in definition.get("portMappings") or []),
        memory_mib=int(container_memory_mib(launch, definition) or memory_mib(launch)),
        cpu_units=int(container_cpu_units(launch, definition) or cpu_units(launch)),
        has_init=bool((definition.get("linuxParameters") or {}).get("initProcessEnabled")),
        labels=labels(task, definition),
    )


def labels(task: Task, definition: Mapping[str, Any]) -> dict[str, str]:
    """Return the Docker labels of the definition and those that ECS adds."""
    registered = task.launch.definition
    return {
        **(definition.get("dockerLabels") or {}),
        "com.amazonaws.ecs.cluster": task.launch.cluster_arn,
        "com.amazonaws.ecs.container-name": definition["name"],
        "com.amazonaws.ecs.task-arn": task.arn,
        "com.amazonaws.ecs.task-definition-family": registered.family,
        "com.amazonaws.ecs.task-definition-version": str(registered.revision),
    }


def memory_mib(launch: Launch) -> int:
    return int(launch.overrides.get("memory") or launch.definition.memory)


def cpu_units(launch: Launch) -> int:
    return int(launch.overrides.get("cpu") or launch.definition.cpu)


def storage_gib(launch: Launch) -> int:
    storage = launch.overrides.get("ephemeralStorage") or launch.definition.ephemeral_storage or {}
    return int(storage.get("sizeInGiB") or _STORAGE_GIB)


def container_memory_mib(launch: Launch, definition: Mapping[str, Any]) -> int | None:
    """Return the memory limit of the container; None if only that of the task applies."""
    return _container_setting(launch, definition, "memory")


def container_cpu_units(launch: Launch, definition: Mapping[str, Any]) -> int | None:
    """Return the CPU units reserved for the container; 0 and None reserve nothing."""
    return _container_setting(launch, definition, "cpu")


def _container_setting(launch: Launch, definition: Mapping[str, Any], setting: str) -> int | None:
    value = override_of(launch, definition["name"]).get(setting) or definition.get(setting)
    return None if value is None else int(value)


def override_of(launch: Launch, name: str) -> Mapping[str, Any]:
    """Return the container override of this name; empty if the task has none."""
    overrides: Iterable[Mapping[str, Any]] = launch.overrides.get("containerOverrides") or []
    return next((entry for entry in overrides if entry.get("name") == name), {})


def _writable_paths(definition: Mapping[str, Any]) -> tuple[str, ...]:
    mounts = definition.get("mountPoints") or []
    return tuple(mount["containerPath"] for mount in mounts if not mount.get("readOnly"))

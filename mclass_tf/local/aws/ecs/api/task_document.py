"""Describes a task as DescribeTasks does.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
"""

from __future__ import annotations

from typing import Any

from mclass_tf.local.aws.ecs.model.images import architecture_of
from mclass_tf.local.aws.ecs.model.service_deployment import without_none
from mclass_tf.local.aws.ecs.model.task import Container, Task
from mclass_tf.local.aws.ecs.tasks import specification

_PLATFORM_VERSION = "1.4.0"  # what LATEST means


def document(task: Task, *, tags: bool) -> dict[str, Any]:
    """Return the description, without what is not known yet."""
    launch, definition = task.launch, task.launch.definition
    storage = {"sizeInGiB": specification.storage_gib(launch)}
    architecture = architecture_of(definition.runtime_platform)
    described = {
        "taskArn": task.arn,
        "clusterArn": launch.cluster_arn,
        "taskDefinitionArn": definition.arn,
        "group": launch.group,
        "startedBy": launch.started_by or None,
        "launchType": "FARGATE",
        "capacityProviderName": task.capacity_provider,
        "platformVersion": _PLATFORM_VERSION,
        "platformFamily": "Linux",
        "attributes": [{"name": "ecs.cpu-architecture", "value": architecture.lower()}],
        "cpu": str(specification.cpu_units(launch)),
        "memory": str(specification.memory_mib(launch)),
        "ephemeralStorage": storage,
        "fargateEphemeralStorage": storage,
        "overrides": _overrides(task),
        "enableExecuteCommand": bool(launch.settings.get("enableExecuteCommand")),
        "availabilityZone": task.availability_zone or None,
        "attachments": _attachments(task),
        "containers": [_container(task, container) for container in task.containers],
        **_status(task),
        **_times(task),
        "tags": list(launch.tags) if tags else [],
    }
    return without_none(described)


def _status(task: Task) -> dict[str, Any]:
    return {
        "lastStatus": task.last_status,
        "desiredStatus": task.desired_status,
        "healthStatus": task.health_status,
        "connectivity": "CONNECTED" if task.interface is not None else "DISCONNECTED",
        "stopCode": task.stop_code,
        "stoppedReason": task.stopped_reason,
    }


def _times(task: Task) -> dict[str, float | None]:
    return {
        "createdAt": task.created_at,
        "pullStartedAt": task.pull_started_at,
        "pullStoppedAt": task.pull_stopped_at,
        "startedAt": task.started_at,
        "stoppingAt": task.stopping_at,
        "executionStoppedAt": task.execution_stopped_at,
        "stoppedAt": task.stopped_at,
    }


def _overrides(task: Task) -> dict[str, Any]:
    given = task.launch.overrides
    of_containers = given.get("containerOverrides") or [{"name": entry.name} for entry in task.containers]
    return {"inferenceAcceleratorOverrides": [], **given, "containerOverrides": list(of_containers)}


def _attachments(task: Task) -> list[dict[str, Any]]:
    if task.interface is None:
        return []
    interface = task.interface
    details = {
        "subnetId": interface.subnet_id,
        "networkInterfaceId": interface.id,
        "macAddress": interface.mac_address,
        "privateIPv4Address": interface.private_ip,
    }
    return [
        {
            "id": task.attachment_id,
            "type": "ElasticNetworkInterface",
            "status": "DELETED" if task.is_stopped else "ATTACHED",
            "details": [{"name": name, "value": value} for name, value in details.items()],
        }
    ]


def _container(task: Task, container: Container) -> dict[str, Any]:
    defined = next(
        entry for entry in task.launch.definition.container_definitions if entry["name"] == container.name
    )
    memory = specification.container_memory_mib(task.launch, defined)
    return without_none(
        {
            "containerArn": container.arn,
            "taskArn": task.arn,
            "name": container.name,
            "image": container.image,
            "imageDigest": container.image_digest,
            "runtimeId": container.runtime_id or None,
            "lastStatus": container.last_status,
            "exitCode": container.exit_code,
            "reason": container.reason,
            "networkBindings": [],
            "networkInterfaces": _interfaces(task),
            "healthStatus": container.health_status,
            "cpu": str(specification.container_cpu_units(task.launch, defined) or 0),
            "memory": str(memory) if memory else None,
        }
    )


def _interfaces(task: Task) -> list[dict[str, str]]:
    if task.interface is None:
        return []
    return [{"attachmentId": task.attachment_id, "privateIpv4Address": task.interface.private_ip}]

"""What ECS checks of a task definition before it registers it, and adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mclass_tf.local.aws.ecs.errors import client, invalid

_GIB = 1024
_LONGEST_STOP_TIMEOUT = 120

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


def check_task_definition(request: Mapping[str, Any]) -> None:
    """Raises what ECS raises; moto registers all of these."""
    if request.get("requiresCompatibilities") != ["FARGATE"]:
        raise invalid("The local AWS runs tasks on Fargate only: requiresCompatibilities must be [FARGATE].")
    if request.get("networkMode") != "awsvpc":
        raise client("Fargate only supports network mode 'awsvpc'.")
    _check_size(cpu=str(request.get("cpu", "")), memory=str(request.get("memory", "")))
    containers = request.get("containerDefinitions") or []
    if not containers:
        raise client("Container list cannot be empty.")
    names = [container.get("name") for container in containers]
    if len(set(names)) != len(names):
        raise client("Container names must be unique within a task definition.")
    for container in containers:
        _check_container(container, has_execution_role=bool(request.get("executionRoleArn")))


def described(container: Mapping[str, Any]) -> dict[str, Any]:
    """The container as DescribeTaskDefinition gives it back: awsvpc maps a port to itself."""
    ports = [
        {**mapping, "hostPort": mapping.get("containerPort"), "protocol": mapping.get("protocol") or "tcp"}
        for mapping in container.get("portMappings") or []
    ]
    return {"systemControls": [], **container, "portMappings": ports}


def _check_size(*, cpu: str, memory: str) -> None:
    if not cpu or not memory:
        raise client("Fargate requires that 'cpu' and 'memory' be defined at the task level.")
    if not cpu.isdigit() or not memory.isdigit() or int(memory) not in FARGATE_MEMORY.get(int(cpu), ()):
        raise client(
            f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. "
            "See the Amazon ECS documentation for the valid values."
        )


def _check_container(container: Mapping[str, Any], *, has_execution_role: bool) -> None:
    name = container.get("name")
    stop_timeout = container.get("stopTimeout") or 0
    if stop_timeout > _LONGEST_STOP_TIMEOUT:
        raise client(
            f"Container '{name}': stopTimeout must be at most {_LONGEST_STOP_TIMEOUT} seconds on Fargate."
        )
    for mapping in container.get("portMappings") or []:
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

"""Checks of the applied task definition and of the one that the service runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mclass_tf.verify.check import Comparison, equal, holds, one_of, registry
from mclass_tf.verify.readers.reader import Item, MissingError
from mclass_tf.verify.world import World

check = registry.group("task definition")

# The image until the first push: a valid digest that cannot exist.
PLACEHOLDER = "sha256:" + "0" * 64
STOP_TIMEOUT_LIMIT = 120  # seconds, on Fargate

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@check(
    "the image is named by digest, in this environment's own repository",
    hint="pass the image as a digest: `plan ENV --image sha256:...`",
)
def image(world: World) -> Iterator[Comparison]:
    outputs = world.outputs
    applied = f"{outputs.repository_url}@{outputs.image_digest or PLACEHOLDER}"
    actual = _container(world.ecs.applied_task_definition, outputs.container_name)["image"]
    yield equal("image that was applied", expected=applied, actual=actual)
    for what, container in _containers(world):
        repository, _, digest = container["image"].partition("@")
        expected = f"{outputs.repository_url}@sha256:..."
        named = repository == outputs.repository_url and _DIGEST.fullmatch(digest) is not None
        yield holds(f"image of {what}", named, expected=expected, actual=container["image"])


@check(
    "the task definition is for Fargate, with an address of its own for every task",
    hint='requires_compatibilities = ["FARGATE"] and network_mode = "awsvpc"',
)
def fargate(world: World) -> Iterator[Comparison]:
    for revision in world.ecs.task_definitions:
        what = revision["taskDefinitionArn"]
        actual = set(revision.get("requiresCompatibilities", []))
        yield equal(f"launch types of {what}", expected={"FARGATE"}, actual=actual)
        yield equal(f"network mode of {what}", expected="awsvpc", actual=revision.get("networkMode"))
        architecture = revision.get("runtimePlatform", {}).get("cpuArchitecture")
        yield one_of(f"architecture of {what}", allowed=("ARM64", "X86_64"), actual=architecture)


@check(
    "the tasks have the execution role and the task role of the outputs",
    hint="execution_role_arn and task_role_arn of the task definition",
)
def roles(world: World) -> Iterator[Comparison]:
    for revision in world.ecs.task_definitions:
        what, outputs = revision["taskDefinitionArn"], world.outputs
        yield equal(
            f"execution role of {what}",
            expected=outputs.execution_role_arn,
            actual=revision.get("executionRoleArn"),
        )
        yield equal(
            f"task role of {what}", expected=outputs.task_role_arn, actual=revision.get("taskRoleArn")
        )


@check(
    "the container listens on the port that the load balancer uses",
    hint="portMappings of the container: the container_port of the outputs",
)
def port(world: World) -> Iterator[Comparison]:
    applied = world.ecs.applied_task_definition["taskDefinitionArn"].rsplit("/", 1)[-1]
    for what, container in _containers(world):
        actual = {str(item["containerPort"]) for item in container.get("portMappings", [])}
        # A changed port takes effect with the next release: until then the service is reached on the old one.
        expected = {str(world.outputs.container_port)} if what == applied else _registered_ports(world)
        yield equal(f"ports of {what}", expected=expected, actual=actual)


@check(
    "the container logs to the log group of the outputs",
    hint="logConfiguration awslogs: awslogs-group, awslogs-region and awslogs-stream-prefix",
)
def logs(world: World) -> Iterator[Comparison]:
    for what, container in _containers(world):
        configuration = container.get("logConfiguration", {})
        options = configuration.get("options", {})
        yield equal(f"log driver of {what}", expected="awslogs", actual=configuration.get("logDriver"))
        actual = (options.get("awslogs-group"), options.get("awslogs-region"))
        yield equal(
            f"log of {what}", expected=(world.outputs.log_group_name, world.outputs.region), actual=actual
        )
        prefix = options.get("awslogs-stream-prefix")
        yield holds(f"stream prefix of {what}", bool(prefix), expected="a prefix", actual=prefix)


@check(
    "the container has time to finish its requests after SIGTERM",
    hint="stopTimeout in seconds, at most 120: lame duck plus the longest request",
)
def stop_timeout(world: World) -> Iterator[Comparison]:
    for what, container in _containers(world):
        actual = container.get("stopTimeout") or 0
        enough = 0 < actual <= STOP_TIMEOUT_LIMIT
        yield holds(f"stop timeout of {what}", enough, expected="1 to 120 s", actual=f"{actual} s")


@check("the container cannot write to its root file system", hint="readonlyRootFilesystem = true")
def read_only_root(world: World) -> Iterator[Comparison]:
    for what, container in _containers(world):
        actual = container.get("readonlyRootFilesystem", False)
        yield equal(f"read-only root of {what}", expected=True, actual=actual)


@check(
    "the container runs as a user that is not root, without privileges",
    hint='user = "10001:10001", or another that is not root; privileged = false',
)
def user(world: World) -> Iterator[Comparison]:
    for what, container in _containers(world):
        actual = str(container.get("user", ""))
        named = actual.split(":", maxsplit=1)[0] not in ("", "0", "root")
        yield holds(f"user of {what}", named, expected="a user other than root", actual=actual or "root")
        yield equal(f"privileged, of {what}", expected=False, actual=container.get("privileged", False))


@check(
    "the container has a health check of its own, as deployments need",
    hint="healthCheck of the container: a CMD or CMD-SHELL command that fails when the service does not answer",
)
def health_check(world: World) -> Iterator[Comparison]:
    for what, container in _containers(world):
        command = container.get("healthCheck", {}).get("command", [])
        asks = len(command) > 1 and command[0] in ("CMD", "CMD-SHELL")
        yield holds(f"health check of {what}", asks, expected="a command", actual=command)


def _containers(world: World) -> Iterator[tuple[str, Item]]:
    for revision in world.ecs.task_definitions:
        is_applied = revision is world.ecs.applied_task_definition
        name = world.outputs.container_name if is_applied else _registered_name(world)
        yield revision["taskDefinitionArn"].rsplit("/", 1)[-1], _container(revision, name)


def _registered_name(world: World) -> str:
    """Return the container that the load balancer reaches. A changed name takes effect with the next release."""
    names = [str(entry.get("containerName")) for entry in world.ecs.service.get("loadBalancers", [])]
    return names[0] if names else world.outputs.container_name


def _registered_ports(world: World) -> set[str]:
    return {str(entry.get("containerPort")) for entry in world.ecs.service.get("loadBalancers", [])}


def _container(revision: Item, name: str) -> Item:
    containers = [item for item in revision.get("containerDefinitions", []) if item["name"] == name]
    if not containers:
        raise MissingError(f"{revision['taskDefinitionArn']} has no container {name!r}")
    container: Item = containers[0]
    return container

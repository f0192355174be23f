"""Every request to ECS gets a result or an AWS error, in bounded time, and never causes a bug."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from moto.core.utils import get_service_model
from moto.ecs.models import ecs_backends

from mclass_tf.local.aws.ecs.model import images
from mclass_tf.local.aws.ecs.model.task import Container, Task
from mclass_tf.local.aws.refusal import UNEXPECTED
from mclass_tf.local.containers.driver import Usage
from mclass_tf.local.http.server import Reply
from mclass_tf.local.metadata import Metadata
from tests.local import in_process, task_world
from tests.local.in_process import REGION

TARGET = "AmazonEC2ContainerServiceV20141113"
MODEL = get_service_model("ecs")
ALL = sorted(MODEL.operation_names)
# Existing names, so that requests pass the validation.
NAMES = (
    "web",
    "default",
    "task",
    "task:1",
    "task:99",
    "1",
    "0",
    "256",
    "512",
    "1024",
    "FARGATE",
    "awsvpc",
    "",
    "x" * 300,
)
WORDS = some.sampled_from(NAMES) | some.text(max_size=12)
NUMBERS = some.sampled_from([0, 1, 2, 80, 100, 200, 3000, -1, 2**31 - 1]) | some.integers(-(2**31), 2**31 - 1)
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def of_shape(shape: Shape, depth: int = 0) -> some.SearchStrategy[Any]:
    """Values of a shape of the API model: mostly of the right type, with any optional members."""
    if depth > 6:
        return some.none()
    if isinstance(shape, StructureShape):
        required = {name: of_shape(shape.members[name], depth + 1) for name in shape.required_members}
        optional = {
            name: of_shape(inner, depth + 1) for name, inner in shape.members.items() if name not in required
        }
        return some.fixed_dictionaries(required, optional=optional)
    if isinstance(shape, ListShape):
        return some.lists(of_shape(shape.member, depth + 1), max_size=2)
    if isinstance(shape, MapShape):
        return some.dictionaries(WORDS, of_shape(shape.value, depth + 1), max_size=2)
    scalars: Mapping[str, some.SearchStrategy[Any]] = {
        "boolean": some.booleans(),
        "double": some.floats(allow_nan=False, allow_infinity=False),
        "float": some.floats(allow_nan=False, allow_infinity=False),
        "integer": NUMBERS,
        "long": NUMBERS,
        "timestamp": NUMBERS,
    }
    enum = getattr(shape, "enum", None)
    words = some.sampled_from(enum) | WORDS if enum else WORDS
    return scalars.get(shape.type_name, words)


def request_of(operation: str) -> some.SearchStrategy[Any]:
    shape = MODEL.operation_model(operation).input_shape
    return some.just({}) if shape is None else of_shape(shape)


CALLS = some.sampled_from(ALL).flatmap(
    lambda operation: some.tuples(some.just(operation), request_of(operation) | JSON)
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path (keys and indexes) of every value in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, one in inner for place in places(one, (*here, key)))]


def replaced(value: Any, place: tuple[Any, ...], by: Any) -> Any:
    if not place:
        return by
    key, *rest = place
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = replaced(copy[key], tuple(rest), by)
    return copy


def like(value: Any) -> some.SearchStrategy[Any]:
    """Mostly other values of the same type, which pass the first checks."""
    match value:
        case bool():
            return some.booleans() | some.none()
        case int():
            return NUMBERS | some.none()
        case str():
            return WORDS | WORDS | some.none() | JSON
        case list():
            return some.sampled_from([[], value * 2, value * 30, [{}], [""], [None]]) | JSON
        case dict() if value:
            keys = some.lists(some.sampled_from(sorted(value)), max_size=3)
            return keys.map(lambda gone: {key: value[key] for key in value if key not in gone}) | JSON
        case _:
            return JSON


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


@some.composite
def mutated(draw: some.DrawFn, valid: Any) -> Any:
    """A valid request with up to three replaced values."""
    for _ in range(draw(some.integers(1, 3))):
        found = places(valid)
        place = draw(some.sampled_from(found[1:] or found))
        valid = replaced(valid, place, draw(like(at(valid, place))))
    return valid


@dataclass(frozen=True, kw_only=True)
class World:
    """An account with a cluster, a task definition, and a network."""

    account: str
    subnet: str
    group: str

    def send(self, operation: str, request: Any) -> Reply:
        text = json.dumps(request).replace("{account}", self.account)
        body = text.replace("{subnet}", self.subnet).replace("{group}", self.group).encode()
        return in_process.send(self.account, "ecs", f"{TARGET}.{operation}", body)


DEFINITION: dict[str, Any] = {
    "family": "task",
    "requiresCompatibilities": ["FARGATE"],
    "networkMode": "awsvpc",
    "cpu": "256",
    "memory": "512",
    "executionRoleArn": "arn:aws:iam::{account}:role/execution",
    "ephemeralStorage": {"sizeInGiB": 30},
    "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
    "tags": [{"key": "a", "value": "b"}],
    "volumes": [{"name": "data"}],
    "containerDefinitions": [
        {
            "name": "web",
            "image": "{account}.dkr.ecr.ap-northeast-2.amazonaws.com/web:v1",
            "essential": True,
            "cpu": 10,
            "memory": 256,
            "command": ["serve"],
            "environment": [{"name": "A", "value": "b"}],
            "secrets": [{"name": "S", "valueFrom": "arn:aws:ssm:ap-northeast-2:{account}:parameter/s"}],
            "portMappings": [{"containerPort": 80, "protocol": "tcp"}],
            "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5, "retries": 2, "timeout": 5},
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {"awslogs-group": "/ecs/web", "awslogs-region": "ap-northeast-2"},
            },
            "stopTimeout": 30,
            "linuxParameters": {"initProcessEnabled": True, "capabilities": {"add": ["SYS_PTRACE"]}},
        },
        {
            "name": "sidecar",
            "image": "{account}.dkr.ecr.ap-northeast-2.amazonaws.com/web@sha256:" + "0" * 64,
            "essential": False,
            "dependsOn": [{"containerName": "web", "condition": "START"}],
        },
    ],
}
NETWORK = {
    "awsvpcConfiguration": {
        "subnets": ["{subnet}"],
        "securityGroups": ["{group}"],
        "assignPublicIp": "DISABLED",
    }
}
SERVICE: dict[str, Any] = {
    "cluster": "web",
    "serviceName": "web",
    "taskDefinition": "task:1",
    "desiredCount": 1,
    "launchType": "FARGATE",
    "platformVersion": "LATEST",
    "propagateTags": "SERVICE",
    "networkConfiguration": NETWORK,
    "tags": [{"key": "a", "value": "b"}],
    "deploymentConfiguration": {
        "minimumHealthyPercent": 100,
        "maximumPercent": 200,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        "alarms": {"alarmNames": ["a"], "enable": False, "rollback": False},
    },
}
UPDATE = {
    key: SERVICE[key]
    for key in (
        "cluster",
        "deploymentConfiguration",
        "desiredCount",
        "networkConfiguration",
        "taskDefinition",
    )
}
TASK: dict[str, Any] = {
    "cluster": "web",
    "taskDefinition": "task:1",
    "count": 1,
    "launchType": "FARGATE",
    "networkConfiguration": NETWORK,
    "startedBy": "fuzz",
    "clientToken": "token",
    "overrides": {
        "cpu": "256",
        "memory": "512",
        "containerOverrides": [
            {"name": "web", "command": ["x"], "environment": [{"name": "A", "value": "b"}]}
        ],
    },
}
VALID = {
    "RegisterTaskDefinition": DEFINITION,
    "CreateService": SERVICE,
    "UpdateService": {**UPDATE, "service": "web", "forceNewDeployment": True},
    "RunTask": TASK,
    "CreateCluster": {
        "clusterName": "web",
        "settings": [{"name": "containerInsights", "value": "enabled"}],
        "tags": [],
    },
    "PutClusterCapacityProviders": {
        "cluster": "web",
        "capacityProviders": ["FARGATE"],
        "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1, "base": 0}],
    },
    "TagResource": {
        "resourceArn": "arn:aws:ecs:ap-northeast-2:{account}:cluster/web",
        "tags": [{"key": "a", "value": "b"}],
    },
    "DescribeServices": {"cluster": "web", "services": ["web"], "include": ["TAGS"]},
    "ListTagsForResource": {"resourceArn": "arn:aws:ecs:ap-northeast-2:{account}:service/web/web"},
    "DeleteService": {"cluster": "web", "service": "web", "force": True},
}
MUTATED = some.sampled_from(sorted(VALID)).flatmap(
    lambda operation: some.tuples(some.just(operation), mutated(VALID[operation]))
)


def world() -> World:
    account = in_process.new_account()
    ec2, ecs = in_process.client(account, "ec2"), in_process.client(account, "ecs")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    ecs.create_cluster(clusterName="web", capacityProviders=["FARGATE", "FARGATE_SPOT"])
    made = World(account=account, subnet=subnet, group=group)
    for operation, request in (("RegisterTaskDefinition", DEFINITION), ("CreateService", SERVICE)):
        answer = made.send(operation, request)
        assert answer.status == 200, answer.body
    return made


# Names only resources that `task_world` creates, so that the task reaches RUNNING.
RUNNABLE: dict[str, Any] = {
    **DEFINITION,
    "executionRoleArn": "{role}",
    "containerDefinitions": [
        {
            **{
                key: value for key, value in DEFINITION["containerDefinitions"][0].items() if key != "secrets"
            },
            "image": "{image}",
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": task_world.LOG_GROUP,
                    "awslogs-region": REGION,
                    "awslogs-stream-prefix": "mclass-server",
                },
            },
        },
        {**DEFINITION["containerDefinitions"][1], "image": "{image}"},
    ],
}


def with_container(**settings: Any) -> dict[str, Any]:
    """Return RUNNABLE with changed settings of its first container."""
    first, *others = RUNNABLE["containerDefinitions"]
    return {**RUNNABLE, "containerDefinitions": [{**first, **settings}, *others]}


LOGS: dict[str, Any] = with_container(
    logConfiguration={
        "logDriver": "awslogs",
        "options": {"awslogs-group": "g", "awslogs-region": "nowhere", "awslogs-stream-prefix": "p"},
    }
)


def check(reply: Reply, what: Any) -> None:
    """Assert that the reply is a result or a client error."""
    assert reply.status < 500, what
    assert UNEXPECTED not in reply.body.decode(), (what, reply.body)
    json.loads(reply.body or b"{}")


FOUND_CALLS: list[tuple[str, Any]] = [
    ("TagResource", {"resourceArn": "arn:aws:ecs:ap-northeast-2:{account}:cluster/web", "tags": [{}]}),
    ("DescribeTaskDefinition", {"taskDefinition": "task:one"}),
    ("PutAttributes", {"attributes": []}),
    ("DeleteTaskSet", {"cluster": "web", "service": "web", "taskSet": "x"}),
    ("UpdateCapacityProvider", {"name": "x", "autoScalingGroupProvider": {}}),
    ("DescribeContainerInstances", {"containerInstances": ["x"]}),
]
"""Failures that the next test has found."""


@settings(max_examples=settings().max_examples // 2, suppress_health_check=list(HealthCheck))
@given(some.lists(CALLS | MUTATED, min_size=1, max_size=8))
@example(FOUND_CALLS)
def test_any_calls_of_ecs_are_answered(calls: list[tuple[str, Any]]) -> None:
    made = world()

    for operation, request in calls:
        check(made.send(operation, request), (operation, request))


class Source:
    """The task manager of the metadata endpoint, with one task."""

    def __init__(self, task: Task, container: Container) -> None:
        self._found = (task, container)

    def by_token(self, token: str) -> tuple[Task, Container] | None:
        return self._found if token == TOKEN else None

    def usage_of(self, task: Task) -> Mapping[str, Usage]:
        return {container.name: Usage(cpu_seconds=1.0, memory_bytes=1) for container in task.containers}


TOKEN = "0" * 32


async def play(world: task_world.World, definition: Any) -> None:
    """Register the definition. If it is accepted, start a task of it, read its metadata, and stop it."""
    applied = world.applied
    text = json.dumps(definition).replace("{image}", applied.image).replace("{role}", applied.role_arn)
    body = text.replace("{account}", applied.account_id).encode()
    reply = in_process.send(applied.account_id, "ecs", f"{TARGET}.RegisterTaskDefinition", body)
    check(reply, definition)
    if reply.status != 200:
        return
    arn = json.loads(reply.body)["taskDefinition"]["taskDefinitionArn"]
    registered = ecs_backends[applied.account_id][REGION].describe_task_definition(arn)
    launch = replace(applied.launch(), definition=registered, registrations=(), is_standalone=True)
    with in_process.aws().exclusive():
        task = world.tasks.launch(launch)
    await task_world.until(
        lambda: task.last_status in {"RUNNING", "STOPPED"}, lambda: f"{definition}: {task.last_status}"
    )
    for container in task.containers:
        metadata = Metadata(exclusive=in_process.aws().exclusive)
        metadata.source = Source(task, container)
        for what in ("", "/task", "/stats", "/task/stats"):
            answer = metadata.answer({"PATH_INFO": f"/v4/{TOKEN}{what}", "REQUEST_METHOD": "GET"})
            assert answer is not None
            json.loads(answer.body)
    world.stop(task, drain=False)
    await task_world.until(lambda: task.is_stopped, lambda: f"{definition}: {task.last_status}")
    assert not world.live.problems, definition


FOUND = [
    with_container(mountPoints=[{"sourceVolume": "data"}]),
    with_container(portMappings=[{}]),
    with_container(environment=[{"value": "b"}]),
    with_container(environment=[{"name": "A"}]),
    with_container(environment=[{"name": "A", "value": None}]),
    LOGS,
    with_container(command=["a\0b"]),
    with_container(image="111111111111.dkr.ecr.nowhere-1.amazonaws.com/web:v1"),
    with_container(secrets=[{"name": "S", "valueFrom": "arn:"}]),
    with_container(secrets=[{"name": "S", "valueFrom": "arn:aws:ssm:nowhere:x:parameter/s"}]),
    {**RUNNABLE, "executionRoleArn": "role"},
]
"""Failures that the next test has found: tasks that ended with a bug."""


@settings(max_examples=max(5, settings().max_examples // 10), suppress_health_check=list(HealthCheck))
@given(some.lists(mutated(RUNNABLE), min_size=1, max_size=6))
@example(FOUND)
def test_a_task_of_any_definition_runs_or_has_a_stopped_reason(
    tmp_path: Path, definitions: list[Any]
) -> None:
    async def scenario(world: task_world.World) -> None:
        for definition in definitions:
            await play(world, definition)

    task_world.run(tmp_path, scenario, speed=10_000)


HOSTILE: dict[str, bytes] = {
    "deep": b'{"cluster": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a": ' * 50_000 + b"1" + b"}" * 50_000,
    "no object": b"[]",
    "no JSON": b"{",
    "no UTF-8": b'{"cluster": "\xff"}',
    "half a pair": b'{"clusterName": "\\ud800"}',
    "no number": b'{"desiredCount": NaN}',
    "a large number": b'{"desiredCount": 1e999}',
    "a long number": b'{"desiredCount": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("operation", ["CreateCluster", "RegisterTaskDefinition", "RunTask"])
def test_a_malformed_body_is_refused(operation: str, body: bytes) -> None:
    reply = in_process.send(in_process.new_account(), "ecs", f"{TARGET}.{operation}", body)

    assert reply.status == 400
    assert json.loads(reply.body)["__type"] == "SerializationException"


def test_a_number_out_of_the_range_of_its_type_is_refused() -> None:
    reply = in_process.send(in_process.new_account(), "ecs", f"{TARGET}.RunTask", b'{"count": 4294967296}')

    assert (reply.status, json.loads(reply.body)["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize("service", ["kms", "logs", "ecr", "secretsmanager", "ssm"])
def test_other_json_services_refuse_it_too(service: str) -> None:
    model = get_service_model(service)
    operation = min(model.operation_names)
    target = f"{model.metadata['targetPrefix']}.{operation}"

    reply = in_process.send(in_process.new_account(), service, target, HOSTILE["deep"])

    assert (reply.status, json.loads(reply.body)["__type"]) == (400, "SerializationException")


def test_a_null_member_counts_as_absent() -> None:
    made = world()

    reply = made.send("CreateCluster", {"clusterName": "nulls", "tags": None, "settings": None})

    assert reply.status == 200
    found = json.loads(made.send("DescribeClusters", {"clusters": ["nulls"], "include": None}).body)
    assert [entry["clusterName"] for entry in found["clusters"]] == ["nulls"]


@given(some.text() | some.from_regex(images._ECR) | some.from_regex(r"\A\d{12}\.dkr\.ecr\..*/.*:.*@.*\Z"))
@example("111111111111.dkr.ecr.nowhere.amazonaws.com/web:v1")
@example("111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/web:v1\n")
@example("111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/" + "a/" * 10_000 + "A")
@example("\u0661" * 12 + ".dkr.ecr.ap-northeast-2.amazonaws.com/web:v1")
def test_any_reference_is_parsed_or_rejected_with_a_reason(text: str) -> None:
    reason, image = "", None
    try:
        reference = images.parse(text)
        with in_process.aws().exclusive():
            image = images.resolve(
                reference, architecture="X86_64", blobs=task_world.Blobs(Path("/nonexistent"))
            )
    except images.UnresolvedImageError as error:
        reason = str(error)

    assert (image is None) == bool(reason)

"""The task metadata endpoint, version 4, and the credentials of task roles.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html

The secret token in the path identifies the container. No S3 bucket can be named v4 or v2.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any, Protocol

from moto.ec2 import ec2_backends

from mclass_tf.local.aws import sts
from mclass_tf.local.aws.ecs.model import task_logs
from mclass_tf.local.aws.ecs.model.task import Container, Task
from mclass_tf.local.aws.ecs.tasks import specification
from mclass_tf.local.containers.driver import Usage
from mclass_tf.local.http.server import Reply, json_reply

_PATH = re.compile(r"/v4/(?P<token>[0-9a-f]{32})(?P<what>/task/stats|/taskWithTags|/task|/stats)?/?")
_CREDENTIALS = re.compile(r"/v2/credentials/(?P<token>[0-9a-f]{32})")
_CREDENTIALS_SECONDS = 6 * 3600
_CPU_UNITS = 1024
_MIB = 1024 * 1024
_NANOSECONDS = 1_000_000_000
# For the default of 20 GiB, Fargate's endpoint reports 20496 MiB, according to the documentation.
_RESERVED_BESIDE = 16


class TaskSource(Protocol):
    """Finds tasks. Called under the lock."""

    def by_token(self, token: str) -> tuple[Task, Container] | None: ...

    def usage_of(self, task: Task) -> Mapping[str, Usage]: ...


class Metadata:
    """Answers requests below `/v4/` and `/v2/credentials/`, and passes on all others. `source` is None until tasks can run."""

    def __init__(self, *, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self.source: TaskSource | None = None
        self._exclusive = exclusive
        self._credentials: dict[str, tuple[dt.datetime, dict[str, Any]]] = {}

    def answer(self, environ: dict[str, Any], *, task_id: str | None = None) -> Reply | None:
        """Answer for the container of the token. If `task_id` is given, only for containers of that task."""
        path = str(environ["PATH_INFO"])
        document = _PATH.fullmatch(path)
        credentials = _CREDENTIALS.fullmatch(path)
        match = document or credentials
        if match is None or environ["REQUEST_METHOD"] != "GET":
            return None
        with self._exclusive():
            source = self.source
            entry = None if source is None else source.by_token(match["token"])
            if source is None or entry is None or task_id not in {None, entry[0].id}:
                return json_reply(HTTPStatus.NOT_FOUND, f"no container {match['token']}")
            if document is not None:
                return json_reply(HTTPStatus.OK, _document(document["what"], *entry, source=source))
            return self._give_credentials(match["token"], entry[0])

    def _give_credentials(self, token: str, task: Task) -> Reply:
        role_arn = task.launch.task_role_arn
        if role_arn is None:
            return json_reply(HTTPStatus.NOT_FOUND, "the task has no role")
        now = dt.datetime.now(dt.UTC)
        self._credentials = {key: entry for key, entry in self._credentials.items() if entry[0] > now}
        known = self._credentials.get(token)
        if known is None or known[0] - now < dt.timedelta(minutes=15):
            known = _assume(task, role_arn, until=now + dt.timedelta(seconds=_CREDENTIALS_SECONDS))
            self._credentials[token] = known
        return json_reply(HTTPStatus.OK, known[1])


def _document(what: str | None, task: Task, container: Container, *, source: TaskSource) -> Any:
    if what == "/task/stats":
        usage = source.usage_of(task)
        return {
            entry.runtime_id: _stats(task, entry, usage[entry.name]) if entry.name in usage else None
            for entry in task.containers
            if entry.runtime_id
        }
    if what == "/stats":
        used = source.usage_of(task).get(container.name)
        return None if used is None else _stats(task, container, used)
    if what is not None:
        return _task(task)
    return _container(task, container)


def _task(task: Task) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate-response.html"""
    launch = task.launch
    reserved = specification.storage_gib(launch) * 1024 + _RESERVED_BESIDE
    return {
        "Cluster": launch.cluster_arn,
        **({"ServiceName": launch.service_name} if launch.service_name else {}),
        "TaskARN": task.arn,
        "Family": launch.definition.family,
        "Revision": str(launch.definition.revision),
        "DesiredStatus": task.desired_status,
        "KnownStatus": task.last_status,
        "Limits": {
            "CPU": specification.cpu_units(launch) / _CPU_UNITS,
            "Memory": specification.memory_mib(launch),
        },
        **_time("PullStartedAt", task.pull_started_at),
        **_time("PullStoppedAt", task.pull_stopped_at),
        "AvailabilityZone": task.availability_zone,
        "LaunchType": "FARGATE",
        "Containers": [_container(task, entry) for entry in task.containers],
        "ClockDrift": {
            "ClockErrorBound": 0.5,
            "ReferenceTimestamp": _text(dt.datetime.now(dt.UTC).timestamp()),
            "ClockSynchronizationStatus": "SYNCHRONIZED",
        },
        "EphemeralStorageMetrics": {"Utilized": 0, "Reserved": reserved},
    }


def _container(task: Task, container: Container) -> dict[str, Any]:
    definition = _definition(task, container)
    destination = task_logs.log_destination(
        definition, account_id=task.launch.account_id, region=task.launch.region, task_id=task.id
    )
    limits = {
        "CPU": specification.container_cpu_units(task.launch, definition),
        "Memory": specification.container_memory_mib(task.launch, definition),
    }
    return {
        "DockerId": container.runtime_id,
        "Name": container.name,
        "DockerName": container.name,
        "Image": container.image,
        "ImageID": container.image_digest or "",
        "Labels": specification.labels(task, definition),
        "DesiredStatus": task.desired_status,
        "KnownStatus": container.last_status,
        **({"ExitCode": container.exit_code} if container.exit_code is not None else {}),
        "Limits": {name: value for name, value in limits.items() if value is not None},
        **_time("CreatedAt", container.started_at),
        **_time("StartedAt", container.started_at),
        **_time("FinishedAt", container.finished_at),
        "Type": "NORMAL",
        **_health(container, definition),
        "Networks": _networks(task),
        "ContainerARN": container.arn,
        **({} if destination is None else _logs(destination, definition)),
        "Snapshotter": "overlayfs",
    }


def _health(container: Container, definition: Mapping[str, Any]) -> dict[str, Any]:
    if not definition.get("healthCheck"):
        return {}
    return {
        "Health": {
            "status": container.health_status,
            **_time("statusSince", container.health_since),
            **({"output": container.health_output} if container.health_output else {}),
            **({"exitCode": container.health_exit_code} if container.health_exit_code is not None else {}),
        }
    }


def _networks(task: Task) -> list[dict[str, Any]]:
    interface = task.interface
    if interface is None:
        return []
    launch = task.launch
    cidr = str(ec2_backends[launch.account_id][launch.region].get_subnet(interface.subnet_id).cidr_block)
    gateway, prefix = cidr.split("/")
    base = gateway.rsplit(".", 1)[0]
    last = int(gateway.rsplit(".", 1)[1])
    return [
        {
            "NetworkMode": "awsvpc",
            "IPv4Addresses": [interface.private_ip],
            "AttachmentIndex": 0,
            "MACAddress": interface.mac_address,
            "IPv4SubnetCIDRBlock": cidr,
            "DomainNameServers": [f"{base}.{last + 2}"],
            "DomainNameSearchList": [f"{launch.region}.compute.internal"],
            "PrivateDNSName": f"ip-{interface.private_ip.replace('.', '-')}.{launch.region}.compute.internal",
            "SubnetGatewayIpv4Address": f"{base}.{last + 1}/{prefix}",
        }
    ]


def _logs(destination: task_logs.LogDestination, definition: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(definition["logConfiguration"].get("options") or {})
    options.pop("awslogs-stream-prefix", None)
    return {"LogOptions": {**options, "awslogs-stream": destination.stream}, "LogDriver": "awslogs"}


def _stats(task: Task, container: Container, usage: Usage) -> dict[str, Any]:
    """Return statistics in Docker's format; only CPU time and memory are real."""
    definition = _definition(task, container)
    own = specification.container_memory_mib(task.launch, definition)
    limit = (own or specification.memory_mib(task.launch)) * _MIB
    total = int(usage.cpu_seconds * _NANOSECONDS)
    return {
        "read": _text(dt.datetime.now(dt.UTC).timestamp()),
        "name": container.name,
        "id": container.runtime_id,
        "num_procs": 0,
        "cpu_stats": {
            "cpu_usage": {"total_usage": total, "usage_in_usermode": total, "usage_in_kernelmode": 0},
            "online_cpus": max(1, specification.cpu_units(task.launch) // _CPU_UNITS),
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        },
        "memory_stats": {"usage": usage.memory_bytes, "limit": limit, "stats": {}},
        "networks": {},
    }


def _assume(task: Task, role_arn: str, *, until: dt.datetime) -> tuple[dt.datetime, dict[str, Any]]:
    """Return credentials of the role, limited to what a task may do (`aws/api/task_permissions.py`)."""
    session = sts.issue(
        account_id=task.launch.account_id,
        region=task.launch.region,
        role_arn=role_arn,
        name=task.id,
        seconds=_CREDENTIALS_SECONDS,
        task_id=task.id,
    )
    document = {
        "RoleArn": role_arn,
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key,
        "Token": session.session_token,
        "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return until, document


def _definition(task: Task, container: Container) -> Mapping[str, Any]:
    definitions: list[Mapping[str, Any]] = task.launch.definition.container_definitions
    return next(entry for entry in definitions if entry["name"] == container.name)


def _time(name: str, seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {name: _text(seconds)}


def _text(seconds: float) -> str:
    return (
        dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )

"""The state of a task.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mclass_tf.local.network import Interface


@dataclass(kw_only=True)
class Container:
    """One container of a task. `runtime_id` is empty before its start. Times in seconds since the epoch."""

    name: str
    arn: str
    image: str
    image_digest: str | None = None
    runtime_id: str = ""
    last_status: str = "PENDING"
    health_status: str = "UNKNOWN"
    health_since: float | None = None
    health_exit_code: int | None = None
    health_output: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A target group in which to register a task, from the load balancers of the service when the task was launched."""

    target_group_arn: str
    container_name: str
    container_port: int


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The parameters of a new task, launched by a service deployment or by RunTask.

    `settings` are those of the service at launch, as ECS names them (networkConfiguration, platformVersion,
    capacityProviderStrategy, healthCheckGracePeriodSeconds, …). An `is_standalone` task belongs to no service; the caller of
    RunTask chose its `group` and `started_by`.
    """

    account_id: str
    region: str
    cluster_name: str
    cluster_arn: str
    definition: Any
    group: str
    started_by: str
    settings: Mapping[str, Any]
    registrations: tuple[Registration, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[Mapping[str, str], ...] = ()
    is_standalone: bool = False

    @property
    def service_name(self) -> str | None:
        """The name of the service. None for a standalone task, whatever its `group`."""
        kind, _, name = self.group.partition(":")
        return name if kind == "service" and not self.is_standalone else None

    @property
    def execution_role_arn(self) -> str | None:
        """The role that ECS assumes to start the task."""
        return self._role("executionRoleArn", "execution_role_arn")

    @property
    def task_role_arn(self) -> str | None:
        """The role of the containers."""
        return self._role("taskRoleArn", "task_role_arn")

    def _role(self, override: str, attribute: str) -> str | None:
        # moto sets the attribute only if the request does.
        role = self.overrides.get(override) or getattr(self.definition, attribute, None)
        if not role:
            return None
        return str(role) if str(role).startswith("arn:") else f"arn:aws:iam::{self.account_id}:role/{role}"


@dataclass(kw_only=True)
class Task:
    """Read and change it only under the lock of the API calls (`AwsApi.exclusive`). Times in seconds since the epoch.

    `is_registered`: it is in its target groups. `is_draining`: it was deregistered and may still finish requests.
    `attachment_id` is that of its network interface.
    """

    id: str
    arn: str
    launch: Launch
    created_at: float
    attachment_id: str
    containers: list[Container]
    last_status: str = "PROVISIONING"
    desired_status: str = "RUNNING"
    health_status: str = "UNKNOWN"
    availability_zone: str = ""
    capacity_provider: str | None = None
    interface: Interface | None = None
    is_registered: bool = False
    is_draining: bool = False
    stop_code: str | None = None
    stopped_reason: str | None = None
    pull_started_at: float | None = None
    pull_stopped_at: float | None = None
    started_at: float | None = None
    stopping_at: float | None = None
    stopped_at: float | None = None
    execution_stopped_at: float | None = None

    @property
    def deployment_id(self) -> str:
        """The id of its service's deployment. Empty for a standalone task, whatever its `startedBy`."""
        return "" if self.launch.is_standalone else self.launch.started_by

    @property
    def is_stopped(self) -> bool:
        return self.last_status == "STOPPED"


@dataclass(frozen=True, kw_only=True)
class EveryTask:
    """The tasks of all accounts: those that stopped and are still described, and the others."""

    stopped: list[Task]
    started: list[Task]

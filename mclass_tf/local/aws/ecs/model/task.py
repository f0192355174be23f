"""A task as ECS keeps and describes it.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mclass_tf.local.network import Interface


@dataclass(kw_only=True)
class Container:
    """One container of a task. `runtime_id` is empty until it was started; times in seconds since the epoch."""

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
    """A target group that a task is to be registered in, by the service's wiring at its start."""

    target_group_arn: str
    container_name: str
    container_port: int


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What starts a task: for a service's deployment, or alone (`run-task`).

    `settings` are the service's, as ECS names them (networkConfiguration, platformVersion, capacityProviderStrategy,
    healthCheckGracePeriodSeconds, …), as they are at the start. `is_standalone`: it belongs to no service, and `group` and
    `started_by` are what the caller of RunTask has chosen.
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
        """The service that the task belongs to; None for one that stands alone, whatever its group is called."""
        kind, _, name = self.group.partition(":")
        return name if kind == "service" and not self.is_standalone else None

    @property
    def execution_role_arn(self) -> str | None:
        """The role with which ECS starts the task."""
        return self._role("executionRoleArn", "execution_role_arn")

    @property
    def task_role_arn(self) -> str | None:
        """The role of the containers themselves."""
        return self._role("taskRoleArn", "task_role_arn")

    def _role(self, override: str, attribute: str) -> str | None:
        role = self.overrides.get(override) or getattr(
            self.definition, attribute, None
        )  # moto sets it if it is given
        if not role:
            return None
        return str(role) if str(role).startswith("arn:") else f"arn:aws:iam::{self.account_id}:role/{role}"


@dataclass(kw_only=True)
class Task:
    """Read and changed under the lock of the calls (`AwsApi.exclusive`) alone. Times in seconds since the epoch.

    `is_registered`: it stands in its target groups;
    `is_draining`: it was taken out of them and may still work on what it has. `attachment_id`: that of its interface.
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
        """That of the service's deployment it belongs to; empty where it stands alone, whatever `startedBy` says."""
        return "" if self.launch.is_standalone else self.launch.started_by

    @property
    def is_stopped(self) -> bool:
        return self.last_status == "STOPPED"


@dataclass(frozen=True, kw_only=True)
class EveryTask:
    """The tasks of all accounts: those that have stopped and are still shown, and the others."""

    stopped: list[Task]
    started: list[Task]

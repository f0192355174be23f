"""The input and the output of a deployment strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class TaskCondition(Enum):
    """A task as the service scheduler counts it. STOPPING and STOPPED tasks are not counted."""

    PENDING = "pending"  # on its way to RUNNING
    STARTING = "starting"  # RUNNING; health unknown, or failing within the grace period
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"  # stopping, but still finishing its requests


class StopCause(Enum):
    SCALING = "scaling"  # belongs to another deployment, or exceeds the desired count
    HEALTH = "health"


@dataclass(frozen=True, kw_only=True)
class TaskView:
    id: str
    deployment_id: str
    condition: TaskCondition
    zone: str = ""
    created_at: float = 0


@dataclass(frozen=True, kw_only=True)
class ServiceView:
    """`minimum` tasks must stay healthy; at most `maximum` may be running or pending.

    `primary` is the id of the deployment that finally has all tasks. If `is_failed`, it starts no more.
    `may_launch` is False while launches are throttled. `held` counts stopped tasks whose replacement is delayed.

    For strategies that shift traffic, `tasks` contains only those of the primary deployment. `blue` is the view of the deployment
    that serves beside it. `others` are the tasks of superseded or failed deployments.
    """

    desired: int
    minimum: int
    maximum: int
    primary: str
    tasks: Sequence[TaskView]
    is_failed: bool = False
    may_launch: bool = True
    held: int = 0
    blue: ServiceView | None = None
    others: Sequence[TaskView] = ()
    may_stop_others: bool = False


@dataclass(frozen=True, kw_only=True)
class TaskStop:
    task_id: str
    cause: StopCause


@dataclass(frozen=True, kw_only=True)
class ScalingDecision:
    """Stop `stops`, then start `start` tasks of the primary deployment, `replacing` of them for unhealthy tasks.

    `blue_start` and `blue_replacing` are the same for the blue deployment.
    `is_stuck`: the percentages allow neither a start nor a stop.
    """

    stops: tuple[TaskStop, ...] = ()
    start: int = 0
    replacing: int = 0
    is_stuck: bool = False
    blue_start: int = 0
    blue_replacing: int = 0

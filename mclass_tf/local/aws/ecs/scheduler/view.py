"""What a deployment strategy sees of a service, and what it can decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class TaskCondition(Enum):
    """A task as the service scheduler counts it. Tasks that are STOPPING or STOPPED are not counted at all."""

    PENDING = "pending"  # on its way to RUNNING
    STARTING = "starting"  # RUNNING, and its health not known yet or within the grace period
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"  # asked to stop, and still working on what it has


class StopCause(Enum):
    """Why a task is stopped."""

    SCALING = "scaling"  # it is not needed: another deployment's, or one too many
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
    """`minimum` tasks must stay healthy, at most `maximum` may be running or pending.

    `primary` is the id of the deployment that is to have all tasks in the end; `is_failed`: it has failed, and starts none any more.
    `may_launch` is False while starts are throttled; `held` tasks have ended by themselves just now and are replaced in a moment.

    Strategies that shift traffic have in `tasks` those of the primary deployment alone; `blue` is the view of the one that serves
    beside it, `others` are the tasks of deployments that were superseded or failed.
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
    """Stop these, then start `start` tasks of the primary deployment, `replacing` of them for unhealthy ones.

    `blue_start` and `blue_replacing` are the same for the deployment that serves beside it.
    `is_stuck`: the percentages allow neither a start nor a stop.
    """

    stops: tuple[TaskStop, ...] = ()
    start: int = 0
    replacing: int = 0
    is_stuck: bool = False
    blue_start: int = 0
    blue_replacing: int = 0

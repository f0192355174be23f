"""What a rollout shows: its stage in a few words, the tasks of each revision, and ECS's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mclass_tf.errors import ServiceEvent
from mclass_tf.service import Service, ServiceDeployment, Task


@dataclass(frozen=True, kw_only=True)
class DeploymentTasks:
    """Task counts of one of the service's deployments. `healthy` counts healthy targets, `failed` ECS's failed tasks.

    `is_new`: the tasks run the task definition of the rollout.
    """

    task_definition_arn: str
    is_new: bool
    desired: int
    pending: int
    running: int
    failed: int
    healthy: int


@dataclass(frozen=True, kw_only=True)
class View:
    """A rollout as it is now. `stage` is a short description, `status` ECS's own; `events` are new since the last view.

    `production` and `test` are the new version's per cent of that traffic, None if ECS shifts none. `elapsed` is in seconds
    since the start. `notice` describes what prevents watching, if anything. `left` is the rest of the bake time in seconds of
    AWS's clock, None if unknown. `analysis` summarises the comparison of the versions, "" if there is none.
    """

    stage: str
    status: str
    tasks: tuple[DeploymentTasks, ...]
    events: tuple[ServiceEvent, ...]
    elapsed: float
    notice: str = ""
    production: float | None = None
    test: float | None = None
    left: float | None = None
    analysis: str = ""


@dataclass(frozen=True, kw_only=True)
class RolloutReading:
    """Everything read at one time. `target_states` is keyed by address."""

    deployment: ServiceDeployment
    service: Service
    running: tuple[Task, ...]
    target_states: Mapping[str, str]


def tasks_of(
    service: Service,
    *,
    running: Sequence[Task],
    target_states: Mapping[str, str],
    task_definition_arn: str,
) -> tuple[DeploymentTasks, ...]:
    """Return the tasks of each deployment; those of `task_definition_arn` are marked as new."""
    return tuple(
        DeploymentTasks(
            task_definition_arn=own.task_definition_arn,
            is_new=own.task_definition_arn == task_definition_arn,
            desired=own.desired,
            pending=own.pending,
            running=own.running,
            failed=own.failed,
            healthy=_healthy([task for task in running if task.started_by == own.id], service, target_states),
        )
        for own in service.deployments
    )


def _healthy(tasks: Sequence[Task], service: Service, target_states: Mapping[str, str]) -> int:
    if not service.target_group_arns:
        return sum(task.last_status == "RUNNING" for task in tasks)
    return sum(target_states.get(task.address) == "healthy" for task in tasks)


def stage(deployment: ServiceDeployment, tasks: Sequence[DeploymentTasks]) -> str:
    """Return the stage of the rollout in a few words."""
    if deployment.status != "IN_PROGRESS":
        return _STATUSES.get(deployment.status, _words(deployment.status))
    if deployment.pauses:
        return f"paused at {_words(deployment.stage)}"
    if baking_minutes(deployment):
        # ECS has no stage for the bake time between two shifts: it belongs to the shift.
        return "bake time" if deployment.stage == "BAKE_TIME" else "bake time of this share"
    # A rolling update is at SCALE_UP from the first task to the last: the tasks are more specific.
    is_rolling = deployment.production is None and deployment.stage in {"", "SCALE_UP"}
    return _rolling_stage(tasks) if is_rolling else _words(deployment.stage)


def baking_minutes(deployment: ServiceDeployment) -> int:
    """Return the minutes for which ECS keeps the new version's share of traffic at this stage, 0 if it does not.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/canary-deployment.html
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-linear.html
    """
    if deployment.stage == "BAKE_TIME":
        return deployment.bake_minutes
    is_share = 0 < (deployment.production or 0.0) < _WHOLE
    return deployment.step_minutes if is_share and deployment.stage == "PRODUCTION_TRAFFIC_SHIFT" else 0


def _rolling_stage(tasks: Sequence[DeploymentTasks]) -> str:
    new = [each for each in tasks if each.is_new]
    running, healthy = sum(each.running for each in new), sum(each.healthy for each in new)
    if running < sum(each.desired for each in new):
        return "starting new tasks"
    if healthy < running:
        return "waiting for health"
    if not all(each.is_new for each in tasks):
        return "draining old tasks"
    return "settling"


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


_WHOLE = 100.0
_STATUSES = {
    "PENDING": "waiting for ECS",
    "STOP_REQUESTED": "stopping",
    "ROLLBACK_REQUESTED": "rolling back",
    "ROLLBACK_IN_PROGRESS": "rolling back",
    "SUCCESSFUL": "done",
    "ROLLBACK_SUCCESSFUL": "rolled back",
    "ROLLBACK_FAILED": "rollback failed",
}

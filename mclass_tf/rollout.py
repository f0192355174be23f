"""Watches one service deployment to its end."""

from __future__ import annotations

from dataclasses import dataclass

from mclass_tf.errors import ServiceEvent


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """The tasks of one of the service's deployments. `healthy` counts those that are healthy targets.

    `is_new`: they run the task definition that is being released. `failed` counts the tasks that ECS gave up.
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
    """A rollout as it is now. `stage` is a few words, `status` ECS's own; `events` are new since the last view.

    `elapsed` is in seconds since the rollout began. `notice` tells what stands in the way of watching, if anything does.
    """

    stage: str
    status: str
    tasks: tuple[Tasks, ...]
    events: tuple[ServiceEvent, ...]
    elapsed: float
    notice: str = ""

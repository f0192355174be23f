"""A deployment of a service: the tasks of one service revision.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from mclass_tf.local.aws.ecs.model.revisions import Revision
from mclass_tf.local.aws.ecs.model.service_deployment import ServiceDeployment, TaskCounts

_SHARED = (
    "capacityProviderStrategy",
    "launchType",
    "networkConfiguration",
    "platformVersion",
    "taskDefinition",
)


@dataclass(kw_only=True)
class Deployment:
    """`record` is the service deployment that it belongs to. Times in seconds since the epoch.

    `failed_tasks` is the count of the circuit breaker, `launch_failures` the number of consecutive tasks that never were RUNNING.
    `ended_at` has the times at which tasks stopped unexpectedly. No task is launched before `no_launch_before`.
    `keeps_tasks`: it is scaled to the desired count, not to 0. `production` and `test` are its traffic shares in per cent, None
    if traffic is not shifted.
    """

    id: str
    revision: Revision
    record: ServiceDeployment
    created_at: float
    updated_at: float
    status: str = "PRIMARY"
    rollout_state: str = "IN_PROGRESS"
    rollout_state_reason: str = ""
    counts: TaskCounts = field(default_factory=TaskCounts)
    failed_tasks: int = 0
    launch_failures: int = 0
    no_launch_before: float = 0.0
    ended_at: list[float] = field(default_factory=list)
    baking_until: float | None = None
    is_impaired: bool = False
    is_stuck: bool = False
    keeps_tasks: bool = True
    production: float | None = None
    test: float | None = None

    @property
    def is_in_progress(self) -> bool:
        return self.rollout_state == "IN_PROGRESS"

    @property
    def is_failed(self) -> bool:
        return self.rollout_state == "FAILED"

    def begin(self, *, reason: str) -> None:
        """Make it the primary deployment, with all failure counts reset."""
        self.status = "PRIMARY"
        self.keeps_tasks = True
        self.set_rollout_state("IN_PROGRESS", reason=reason)
        self.failed_tasks = 0
        self.launch_failures = 0
        self.no_launch_before = 0.0
        self.ended_at = []
        self.baking_until = None
        self.is_impaired = False
        self.is_stuck = False

    def set_rollout_state(self, state: str, *, reason: str) -> None:
        self.rollout_state = state
        self.rollout_state_reason = reason
        self.updated_at = time.time()

    def count_failed_tasks(self, number: int) -> None:
        """Set the failure count while the rollout is in progress. The record keeps the count that led to a rollback."""
        if not self.is_in_progress:
            return
        self.failed_tasks = number
        if self.record.status == "IN_PROGRESS":
            self.record.failure_count = number

    def document(self) -> dict[str, Any]:
        settings = self.revision.settings
        return {
            "id": self.id,
            "status": self.status,
            **{name: settings[name] for name in _SHARED if settings.get(name) is not None},
            "platformFamily": "Linux",
            "desiredCount": self.counts.requested,
            "runningCount": self.counts.running,
            "pendingCount": self.counts.pending,
            "failedTasks": self.failed_tasks,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "rolloutState": self.rollout_state,
            "rolloutStateReason": self.rollout_state_reason,
        }

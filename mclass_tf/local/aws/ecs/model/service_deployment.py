"""A service deployment: the permanent record of one rollout and its rollback.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceDeployment.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html (its states)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mclass_tf.local.aws.ecs.model.stages import Progress

STATUSES = (
    "PENDING",
    "SUCCESSFUL",
    "STOPPED",
    "STOP_REQUESTED",
    "IN_PROGRESS",
    "ROLLBACK_REQUESTED",
    "ROLLBACK_IN_PROGRESS",
    "ROLLBACK_SUCCESSFUL",
    "ROLLBACK_FAILED",
)
_ENDED = ("SUCCESSFUL", "STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED")


@dataclass(frozen=True, kw_only=True)
class TaskCounts:
    """The tasks of one revision and, if ECS shifts traffic, its traffic shares in per cent."""

    requested: int = 0
    running: int = 0
    pending: int = 0
    production: float | None = None
    test: float | None = None

    def summary(self, revision_arn: str) -> dict[str, Any]:
        return without_none(
            {
                "arn": revision_arn,
                "requestedTaskCount": self.requested,
                "runningTaskCount": self.running,
                "pendingTaskCount": self.pending,
                "requestedProductionTrafficWeight": self.production,
                "requestedTestTrafficWeight": self.test,
            }
        )


@dataclass(kw_only=True)
class Monitor:
    """The circuit breaker or the alarms of a deployment: DISABLED, MONITORING, TRIGGERED or MONITORING_COMPLETE."""

    status: str = "DISABLED"

    def watch(self, *, is_enabled: bool) -> None:
        self.status = "MONITORING" if is_enabled else "DISABLED"

    def trip(self) -> None:
        self.status = "TRIGGERED"

    def end(self) -> None:
        if self.status == "MONITORING":
            self.status = "MONITORING_COMPLETE"


@dataclass(kw_only=True)
class ServiceDeployment:
    """`sources` are the revisions that ran at its start, `target` is the deployed one. Times in seconds since the epoch."""

    arn: str
    service_arn: str
    cluster_arn: str
    target_arn: str
    sources: Sequence[tuple[str, TaskCounts]]
    configuration: Mapping[str, Any]
    progress: Progress
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    stopped_at: float | None = None
    updated_at: float = 0.0
    status: str = "PENDING"
    reason: str | None = None
    target: TaskCounts = field(default_factory=TaskCounts)
    breaker: Monitor = field(default_factory=Monitor)
    breaker_threshold: int = 0
    failure_count: int = 0
    alarms: Monitor = field(default_factory=Monitor)
    triggered_alarms: Sequence[str] = ()
    rollback: Mapping[str, Any] | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED

    @property
    def is_cleaning_up(self) -> bool:
        """Whether the new revision has all traffic and only the old tasks remain to be stopped."""
        return self.progress.stage == "CLEAN_UP" and not self.progress.is_rollback

    def begin(self, *, ignores_alarms: bool) -> None:
        self.set_status("IN_PROGRESS")
        self.started_at = self.updated_at
        self.breaker.watch(is_enabled=bool(self._option("deploymentCircuitBreaker").get("enable")))
        self.alarms.watch(is_enabled=bool(self._option("alarms").get("enable")) and not ignores_alarms)

    def set_status(self, status: str, *, reason: str | None = None) -> None:
        self.status = status
        self.reason = reason or self.reason
        self.updated_at = time.time()

    def end(self, status: str, *, reason: str | None = None) -> None:
        """End the service deployment, unless it has ended already."""
        if self.has_ended:
            return
        self.set_status(status, reason=reason)
        self.finished_at = self.updated_at
        if status == "STOPPED":
            self.stopped_at = self.updated_at
        self.breaker.end()
        self.alarms.end()
        self.progress.fail_open_hooks()

    def roll_back(self, *, reason: str, revision_arn: str) -> None:
        self.set_status("ROLLBACK_IN_PROGRESS", reason=reason)
        self.rollback = {
            "reason": reason,
            "startedAt": self.updated_at,
            "serviceRevisionArn": revision_arn,
        }

    def brief(self) -> dict[str, Any]:
        """Return the ServiceDeploymentBrief of ListServiceDeployments."""
        return without_none(
            {
                "serviceDeploymentArn": self.arn,
                "serviceArn": self.service_arn,
                "clusterArn": self.cluster_arn,
                "createdAt": self.created_at,
                "startedAt": self.started_at,
                "finishedAt": self.finished_at,
                "targetServiceRevisionArn": self.target_arn,
                "status": self.status,
                "statusReason": self.reason,
            }
        )

    def document(self) -> dict[str, Any]:
        """Return the service deployment as DescribeServiceDeployments does."""
        alarms = self._option("alarms")
        return without_none(
            {
                "serviceDeploymentArn": self.arn,
                "serviceArn": self.service_arn,
                "clusterArn": self.cluster_arn,
                "createdAt": self.created_at,
                "startedAt": self.started_at,
                "finishedAt": self.finished_at,
                "stoppedAt": self.stopped_at,
                "updatedAt": self.updated_at,
                "sourceServiceRevisions": [counts.summary(arn) for arn, counts in self.sources],
                "targetServiceRevision": self.target.summary(self.target_arn),
                "status": self.status,
                "statusReason": self.reason,
                "lifecycleStage": self.progress.stage if self.started_at is not None else None,
                "lifecycleHookDetails": [hook.document() for hook in self.progress.pauses] or None,
                "deploymentConfiguration": dict(self.configuration),
                "rollback": self.rollback,
                "deploymentCircuitBreaker": {
                    "status": self.breaker.status,
                    "failureCount": self.failure_count,
                    "threshold": self.breaker_threshold,
                },
                "alarms": {
                    "status": self.alarms.status,
                    "alarmNames": list(alarms.get("alarmNames") or []),
                    "triggeredAlarmNames": list(self.triggered_alarms),
                },
            }
        )

    def _option(self, name: str) -> Mapping[str, Any]:
        option: Mapping[str, Any] = self.configuration.get(name) or {}
        return option


def without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document without the keys that have no value, as AWS does."""
    return {name: value for name, value in document.items() if value is not None}

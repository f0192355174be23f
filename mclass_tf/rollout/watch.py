"""Watches one service deployment until it ends."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mclass_tf.errors import ServiceEvent
from mclass_tf.rollout.cadence import LOCAL, Cadence
from mclass_tf.rollout.client import (
    EcsClient,
    may_be_retried,
    next_pause,
    no_answer_error,
    patience_with,
    retry_message,
)
from mclass_tf.rollout.start import StartedRollout
from mclass_tf.rollout.view import DeploymentTasks, RolloutReading, View, baking_minutes, stage, tasks_of
from mclass_tf.service import ROLLING_BACK, HookState, ServiceDeployment

_MINUTE = 60.0


class RolloutOutcome(enum.Enum):
    """How a rollout ended; only the first is success."""

    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled back"
    ROLLBACK_FAILED = "rollback failed"
    SUPERSEDED = "superseded"
    STOPPED = "stopped"
    STALLED = "stalled"


_OUTCOMES = {
    "SUCCESSFUL": RolloutOutcome.SUCCEEDED,
    "ROLLBACK_SUCCESSFUL": RolloutOutcome.ROLLED_BACK,
    "ROLLBACK_FAILED": RolloutOutcome.ROLLBACK_FAILED,
    "STOPPED": RolloutOutcome.STOPPED,
}


@dataclass(frozen=True, kw_only=True)
class RolloutEnd:
    """The end of a rollout, with the last reading; `by` is the service deployment that superseded it."""

    outcome: RolloutOutcome
    last: RolloutReading
    by: ServiceDeployment | None = None


@dataclass(frozen=True, kw_only=True)
class _Progress:
    """Counts that only grow while a rollout progresses. Failures count, too: they lead to the circuit breaker."""

    status: str
    stage: str
    started: int
    healthy: int
    gone: int
    failures: int


class Watch:
    """Watches one rollout. `look` reads once and returns a changed view; `end` is set at the end.

    `speed` is the speed of the control plane's clock, 1 on AWS. `analysis` is the summary for each view, which the analyst
    sets.
    """

    def __init__(
        self,
        client: EcsClient,
        started: StartedRollout,
        *,
        stall_after: float,
        speed: float = 1.0,
        cadence: Cadence = LOCAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.end: RolloutEnd | None = None
        self.analysis = ""
        self.pause = cadence.pause(bakes=False)
        self.events: list[ServiceEvent] = []
        self._cadence = cadence
        self._client = client
        self._started = started
        self._clock = clock
        self._stall_after = stall_after
        self._speed = speed
        self._at: tuple[str, float | None] | None = None
        self._at_since: float | None = None
        self._seen = set(started.seen)
        self._shown: View | None = None
        self._unanswered_since: float | None = None
        self._progress: _Progress | None = None
        self._progress_at = clock()
        self._reading: RolloutReading | None = None
        self._read_at = float("-inf")

    @property
    def pauses(self) -> tuple[HookState, ...]:
        """The hooks that wait for an answer, unless the rollout is rolling back."""
        return () if self._reading is None else self._reading.deployment.pauses

    @property
    def deployment(self) -> ServiceDeployment | None:
        """The service deployment as read last."""
        return None if self._reading is None else self._reading.deployment

    @property
    def stage(self) -> str:
        return self._reading.deployment.stage if self._reading is not None else ""

    @property
    def service_deployment_arn(self) -> str:
        return self._started.service_deployment_arn

    def look(self) -> View | None:
        """Return the rollout if it changed since the last call, else None.

        Raises RolloutError if AWS has not answered for half a minute, or the credentials have expired.
        """
        try:
            snapshot = self._read()
            by = self._successor(snapshot)
        except Exception as error:
            if not may_be_retried(error):
                raise
            return self._unanswered(error)
        self._unanswered_since, self._reading = None, snapshot
        self.pause = self._cadence.pause(bakes=_is_steady(snapshot.deployment))
        tasks = tasks_of(
            snapshot.service,
            running=snapshot.running,
            target_states=snapshot.target_states,
            task_definition_arn=self._started.task_definition_arn,
        )
        self.end = self._evaluate(snapshot, tasks, by)
        return self._changed(
            View(
                stage=stage(snapshot.deployment, tasks),
                status=snapshot.deployment.status,
                tasks=tasks,
                events=self._new_events(snapshot.service.events),
                elapsed=self._elapsed,
                production=snapshot.deployment.production,
                test=snapshot.deployment.test,
                left=self._left(snapshot.deployment),
                analysis=self.analysis,
            )
        )

    @property
    def is_rolling_back(self) -> bool:
        return self._shown is not None and self._shown.status in ROLLING_BACK

    @property
    def _elapsed(self) -> float:
        return self._clock() - self._started.at

    def _left(self, deployment: ServiceDeployment) -> float | None:
        """Return the rest of the bake time in seconds of AWS's clock; None if it does not bake, or its start was not seen."""
        at = (deployment.stage, deployment.production)
        if at != self._at:
            self._at_since = None if self._at is None else self._clock()
            self._at = at
        minutes = baking_minutes(deployment)
        if deployment.status != "IN_PROGRESS" or not minutes or self._at_since is None:
            return None
        gone = (self._clock() - self._at_since) * self._speed
        return float(max(0, math.ceil(minutes * _MINUTE - gone)))

    def _read(self) -> RolloutReading:
        """Read the service deployment, and the rest if it has changed since, or the rest is old."""
        client, known = self._client, self._reading
        deployment = client.service_deployment(self._started.service_deployment_arn)
        longest = self._cadence.age(bakes=_is_steady(deployment))
        if known is not None and known.deployment == deployment and self._clock() - self._read_at < longest:
            return known
        self._read_at = self._clock()
        service = client.service()
        return RolloutReading(
            deployment=deployment,
            service=service,
            running=tuple(client.tasks()),
            target_states=client.target_states(service.target_group_arns),
        )

    def _successor(self, snapshot: RolloutReading) -> ServiceDeployment | None:
        own, primary = snapshot.deployment, snapshot.service.primary
        displaced = primary is not None and primary.task_definition_arn != self._started.task_definition_arn
        stopped = own.status in ("STOPPED", "STOP_REQUESTED")
        if not stopped and (not displaced or own.status != "IN_PROGRESS"):
            return None
        listed = self._client.service_deployments(since=own.created_at)
        later = (each for each in listed if each.created_at > own.created_at)
        return next((each for each in later if each.arn != own.arn), None)

    def _evaluate(
        self, snapshot: RolloutReading, tasks: Sequence[DeploymentTasks], by: ServiceDeployment | None
    ) -> RolloutEnd | None:
        if by is not None:
            return RolloutEnd(outcome=RolloutOutcome.SUPERSEDED, last=snapshot, by=by)
        outcome = _OUTCOMES.get(snapshot.deployment.status)
        if outcome is None and self._has_stalled(snapshot.deployment, tasks):
            outcome = RolloutOutcome.STALLED
        return None if outcome is None else RolloutEnd(outcome=outcome, last=snapshot)

    def _has_stalled(self, deployment: ServiceDeployment, tasks: Sequence[DeploymentTasks]) -> bool:
        best = self._progress
        now = _Progress(
            status=deployment.status,
            stage=deployment.stage,
            started=sum(each.running for each in tasks if each.is_new),
            healthy=sum(each.healthy for each in tasks if each.is_new),
            gone=-sum(each.running for each in tasks if not each.is_new),
            failures=deployment.failures,
        )
        # Waiting for an answer is not a stall: ECS ends a pause at its timeout.
        if best is None or deployment.pauses or (now.status, now.stage) != (best.status, best.stage):
            self._progress, self._progress_at = now, self._clock()
            return False
        better = replace(
            now,
            started=max(now.started, best.started),
            healthy=max(now.healthy, best.healthy),
            gone=max(now.gone, best.gone),
            failures=max(now.failures, best.failures),
        )
        if better != best:
            self._progress, self._progress_at = better, self._clock()
        return self._clock() - self._progress_at >= self._stall_after

    def _new_events(self, events: Sequence[ServiceEvent]) -> tuple[ServiceEvent, ...]:
        new = tuple(event for event in events if event.id not in self._seen)
        self._seen.update(event.id for event in new)
        self.events += new
        return new

    def _unanswered(self, error: Exception) -> View | None:
        now = self._clock()
        self._unanswered_since = now if self._unanswered_since is None else self._unanswered_since
        if now - self._unanswered_since >= patience_with(error):
            raise no_answer_error(error) from None
        self.pause = next_pause(self.pause)
        last = self._shown or View(stage="", status="", tasks=(), events=(), elapsed=0.0)
        return self._changed(replace(last, events=(), elapsed=self._elapsed, notice=retry_message(error)))

    def _changed(self, view: View) -> View | None:
        before, self._shown = self._shown, view
        same = before is not None and replace(before, elapsed=view.elapsed, events=()) == view
        return None if same else view


def _is_steady(deployment: ServiceDeployment) -> bool:
    """Return whether the deployment bakes or waits for an answer: neither ends within seconds."""
    return bool(baking_minutes(deployment) or deployment.pauses)

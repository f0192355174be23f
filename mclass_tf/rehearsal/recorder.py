"""Polls the service while the load runs and records changes: deployments, tasks, targets, events."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

from mclass_tf.aws import Aws, ecs_items
from mclass_tf.rehearsal.result import (
    ObservedDeployment,
    ObservedStage,
    TargetState,
    TaskTimeline,
    TimelineEvent,
)

_TASKS_PER_CALL = 100


@dataclass(frozen=True, kw_only=True)
class RecordedService:
    """The service to poll."""

    cluster: str
    service: str
    target_group_arns: tuple[str, ...]


class Recorder:
    """Polls every `every` seconds, in its own thread, from `start` to `stop`. A poll that fails is repeated."""

    def __init__(self, aws: Aws, watched: RecordedService, *, every: float = 0.5) -> None:
        self._aws = aws
        self._watched = watched
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._tasks: dict[str, TaskTimeline] = {}
        self._targets: dict[str, list[TargetState]] = {}
        self._events: dict[str, TimelineEvent] = {}
        self._own: list[TimelineEvent] = []
        self._deployments: dict[str, ObservedDeployment] = {}
        self._before: frozenset[str] | None = None
        self._latest: float | None = None  # when the latest of them was created, by ECS's clock
        self.problems: set[str] = set()

    def start(self) -> None:
        self._poll()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def note(self, message: str) -> None:
        """Record an action of the rehearsal on the time axis."""
        self._own.append(TimelineEvent(at=time.time(), source="rehearsal", message=message))

    def events(self, *, since: float) -> tuple[TimelineEvent, ...]:
        events = [event for event in (*self._events.values(), *self._own) if event.at >= since]
        return tuple(sorted(events, key=lambda event: event.at))

    def tasks(self) -> tuple[TaskTimeline, ...]:
        """Return the tasks in order of creation, each with the states of its target."""
        ordered = sorted(self._tasks.values(), key=lambda task: task.created_at)
        return tuple(replace(task, target=self._states_of(task)) for task in ordered)

    def _states_of(self, task: TaskTimeline) -> tuple[TargetState, ...]:
        """Addresses are reused, so a target's states belong to the task that had the address at that time."""
        later = [
            other.created_at
            for other in self._tasks.values()
            if other.private_ip == task.private_ip and other.created_at > task.created_at
        ]
        until = min(later, default=float("inf"))
        # The first poll also finds older states.
        return tuple(
            replace(state, at=max(state.at, task.created_at))
            for state in self._targets.get(task.private_ip, ())
            if task.created_at - self._every <= state.at < until
        )

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._poll()

    def _poll(self) -> None:
        for poll in (self._poll_deployments, self._poll_events, self._poll_tasks, self._poll_targets):
            try:
                poll()
            except Exception as error:  # noqa: BLE001  # the next poll may succeed; the report lists it
                self.problems.add(f"{type(error).__name__}: {error}")

    def deployments(self) -> tuple[ObservedDeployment, ...]:
        """Return the service deployments that began since the first poll, in order."""
        return tuple(sorted(self._deployments.values(), key=lambda each: each.created_at))

    def _poll_deployments(self) -> None:
        """Parse the raw response: the SDK's model may not know the fields of the native strategies."""
        watched, call = self._watched, self._aws.call_ecs
        request: dict[str, Any] = {"cluster": watched.cluster, "service": watched.service}
        if self._latest is not None:
            request["createdAt"] = {"after": self._latest}
        listed = [*ecs_items(call, "ListServiceDeployments", request, "serviceDeployments")]
        arns = [str(each["serviceDeploymentArn"]) for each in listed]
        if self._before is None:
            self._before = frozenset(arns)
            self._latest = max((float(each["createdAt"]) for each in listed), default=None)
        unfinished = [arn for arn in arns if arn not in self._before and not self._has_finished(arn)]
        if not unfinished:
            return
        described = call("DescribeServiceDeployments", {"serviceDeploymentArns": unfinished})
        for each in described.get("serviceDeployments", ()):
            arn = each["serviceDeploymentArn"]
            self._deployments[arn] = deployment_of(each, self._deployments.get(arn), now=time.time())

    def _has_finished(self, arn: str) -> bool:
        known = self._deployments.get(arn)
        return known is not None and known.finished_at is not None

    def _poll_events(self) -> None:
        watched = self._watched
        answer = self._aws.ecs.describe_services(cluster=watched.cluster, services=[watched.service])
        for entry in answer["services"][0].get("events", []):
            event = TimelineEvent(at=entry["createdAt"].timestamp(), source="ecs", message=entry["message"])
            self._events.setdefault(entry["id"], event)

    def _poll_tasks(self) -> None:
        watched, ecs = self._watched, self._aws.ecs
        statuses: tuple[Literal["RUNNING", "STOPPED"], ...] = ("RUNNING", "STOPPED")
        pages = chain.from_iterable(
            ecs.get_paginator("list_tasks").paginate(
                cluster=watched.cluster, serviceName=watched.service, desiredStatus=status
            )
            for status in statuses
        )
        unfinished = [arn for page in pages for arn in page["taskArns"] if not self._has_stopped(arn)]
        for first in range(0, len(unfinished), _TASKS_PER_CALL):
            answer = ecs.describe_tasks(
                cluster=watched.cluster, tasks=unfinished[first : first + _TASKS_PER_CALL]
            )
            for task in answer["tasks"]:
                self._tasks[task["taskArn"]] = timeline_of(task)

    def _has_stopped(self, arn: str) -> bool:
        known = self._tasks.get(arn)
        return known is not None and known.stopped_at is not None

    def _poll_targets(self) -> None:
        now = time.time()
        seen: dict[str, TargetState] = {}
        for group in self._watched.target_group_arns:
            answer = self._aws.elbv2.describe_target_health(TargetGroupArn=group)
            for target in answer["TargetHealthDescriptions"]:
                health = target["TargetHealth"]
                seen[target["Target"]["Id"]] = TargetState(
                    at=now, state=health["State"], reason=health.get("Reason", "")
                )
        for ip in {*seen, *self._targets}:
            self._record_state(ip, seen.get(ip, TargetState(at=now, state="")))

    def _record_state(self, ip: str, state: TargetState) -> None:
        states = self._targets.setdefault(ip, [])
        if not states or (states[-1].state, states[-1].reason) != (state.state, state.reason):
            states.append(state)


def deployment_of(
    described: Mapping[str, Any], known: ObservedDeployment | None, *, now: float
) -> ObservedDeployment:
    """Return a service deployment from DescribeServiceDeployments, with the stages already seen of it.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceDeployment.html
    """
    status = str(described["status"])
    name = described.get("lifecycleStage") or status if status == "IN_PROGRESS" else status
    share = (described.get("targetServiceRevision") or {}).get("requestedProductionTrafficWeight")
    created, finished = float(described["createdAt"]), described.get("finishedAt")
    stages = () if known is None else known.stages
    last = stages[-1] if stages else None
    if last is None or (last.name, last.production) != (name, share):
        # Polls lag: the first stage began with the deployment, and the last ended with it.
        at = created if last is None else float(finished) if finished else now
        stages = (*stages, ObservedStage(name=name, at=at, production=share))
    return ObservedDeployment(
        arn=described["serviceDeploymentArn"],
        status=status,
        created_at=created,
        finished_at=None if finished is None else float(finished),
        stages=stages,
    )


def timeline_of(task: Mapping[str, Any]) -> TaskTimeline:
    """Return the timeline of a task from DescribeTasks."""
    containers: Sequence[Mapping[str, Any]] = task.get("containers", ())
    codes = [container["exitCode"] for container in containers if container.get("exitCode") is not None]
    reasons = [str(container["reason"]) for container in containers if container.get("reason")]
    return TaskTimeline(
        id=task["taskArn"].rpartition("/")[2],
        revision=int(task["taskDefinitionArn"].rpartition(":")[2]),
        created_at=task["createdAt"].timestamp(),
        private_ip=_address(task),
        started_at=_seconds(task.get("startedAt")),
        stopping_at=_seconds(task.get("stoppingAt")),
        stopped_at=_seconds(task.get("stoppedAt")),
        stop_code=task.get("stopCode") or "",
        stopped_reason=task.get("stoppedReason") or "",
        exit_code=codes[0] if codes else None,
        container_reason=reasons[0] if reasons else "",
    )


def _seconds(at: dt.datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _address(task: Mapping[str, Any]) -> str:
    details = (
        detail
        for attachment in task.get("attachments", ())
        for detail in attachment.get("details", ())
        if detail["name"] == "privateIPv4Address"
    )
    return next((str(detail["value"]) for detail in details), "")

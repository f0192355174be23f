"""Attributes a cause to each failed request. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from mclass_tf.rehearsal.result import (
    BalancerFailure,
    FailedRequest,
    Rehearsal,
    ServiceSettings,
    TaskTimeline,
)

LAME_DUCK = "lame-duck"
KEEP_ALIVE = "keep-alive"
DEREGISTRATION_DELAY = "deregistration-delay"
MINIMUM_PERCENT = "minimum-percent"
GRACE_PERIOD = "grace-period"
PROTECTIONS = (LAME_DUCK, KEEP_ALIVE, DEREGISTRATION_DELAY, MINIMUM_PERCENT, GRACE_PERIOD)
"""The protections that keep a release from failing requests. Each is a setting."""

KILLED = "killed"
IDLE_TIMEOUT = "idle-timeout"
NO_ANSWER = "no-answer"
ANSWER_CUT_OFF = "answer-cut-off"
CLIENT = "client"
SERVICE = "service"
VERSION = "version"
SECURITY_GROUP = "security-group"
UNKNOWN = "unknown"

_SAME_REQUEST_SECONDS = 1.5
# How long after a task's death the load balancer may still send requests to it: until it notices.
_DETECTION_SECONDS = 3.0
_CLOCK_TOLERANCE_SECONDS = 0.5  # tolerance between two clocks or two polls
_BROKEN_AT_TARGET = frozenset(
    ["connection_refused", "connection_timeout", "closed_in_flight", "closed_while_idle", "answer_cut_off"]
)
_AT_SERVING_TASK = {
    "closed_while_idle": KEEP_ALIVE,
    "closed_in_flight": NO_ANSWER,
    "answer_cut_off": ANSWER_CUT_OFF,
}
_GAVE_UP = "timeout"  # of the sender's own clock, see `client.py`; the load balancer logs a 460
_HEALTH_CHECK_REASONS = ("failed elb health checks", "failed container health checks", "unhealthy")
_EXTERNAL_STOP_CODES = frozenset(["UserInitiated", "SpotInterruption", "TerminationNotice"])
_SIGNAL_EXIT_CODES = frozenset([137, 139, 134])
_EXIT_STOP_CODES = frozenset(["EssentialContainerExited"])


def attribute(rehearsal: Rehearsal) -> tuple[str, ...]:
    """Return the cause of each failed request, in order."""
    matched = _match_failures(rehearsal.load.failed, rehearsal.balancer_failures)
    return tuple(
        _unreported_cause(request) if failure is None else _cause(failure, rehearsal)
        for request, failure in zip(rehearsal.load.failed, matched, strict=True)
    )


def _match_failures(
    failed: Sequence[FailedRequest], failures: Sequence[BalancerFailure]
) -> list[BalancerFailure | None]:
    """Return, for each failed request, the load balancer's nearest failure in time on the same path. Each is used once."""
    by_path: dict[str, list[BalancerFailure]] = {}
    for failure in sorted(failures, key=lambda failure: failure.at):
        by_path.setdefault(failure.path.partition("?")[0], []).append(failure)
    matched = []
    for request in failed:
        left = by_path.get(request.path.partition("?")[0], [])
        best = _nearest(request, left)
        if best is not None:
            left.remove(best)
        matched.append(best)
    return matched


def _nearest(request: FailedRequest, failures: Sequence[BalancerFailure]) -> BalancerFailure | None:
    """Return the nearest failure in time that fits, from failures sorted by time; None if all are too far."""
    first = bisect_left(failures, request.ended_at - _SAME_REQUEST_SECONDS, key=lambda failure: failure.at)
    last = bisect_right(failures, request.ended_at + _SAME_REQUEST_SECONDS, key=lambda failure: failure.at)
    near = (failure for failure in failures[first:last] if _matches_status(request.kind, failure.status))
    return min(near, key=lambda failure: abs(failure.at - request.ended_at), default=None)


def _matches_status(kind: str, status: int) -> bool:
    """An HTTP error must have the same status on both sides. A broken connection has none.

    A client that gave up is the client's own doing: the load balancer has answered nothing and reports no failure.
    """
    if kind == _GAVE_UP:
        return False
    return kind == f"http_{status}" if kind.startswith("http_") else True


def _unreported_cause(request: FailedRequest) -> str:
    """The cause of a failure that the load balancer did not report: the service answered with an error, or the client gave up."""
    if request.kind == _GAVE_UP:
        return CLIENT
    return SERVICE if request.kind.startswith("http_") or request.kind == "wrong_answer" else UNKNOWN


def _cause(failure: BalancerFailure, rehearsal: Rehearsal) -> str:
    if failure.reason == "no_targets":
        return _cause_of_no_targets(failure, rehearsal)
    if failure.reason == "deregistration_delay":
        return DEREGISTRATION_DELAY
    if failure.reason == "idle_timeout":
        return IDLE_TIMEOUT
    if failure.reason in _BROKEN_AT_TARGET:
        return _cause_at_target(failure, rehearsal)
    return SERVICE


def _cause_of_no_targets(failure: BalancerFailure, rehearsal: Rehearsal) -> str:
    if any(task.stopping_at and task.stopping_at <= failure.at for task in killed_while_starting(rehearsal)):
        return GRACE_PERIOD
    if any(_died(task) and task.healthy_at and task.healthy_at <= failure.at for task in rehearsal.tasks):
        return VERSION
    return MINIMUM_PERCENT if _may_stop_all(rehearsal.settings) else UNKNOWN


def _died(task: TaskTimeline) -> bool:
    """Whether its process exited without being stopped, or ran out of memory."""
    return task.stop_code in _EXIT_STOP_CODES or (
        task.exit_code in _SIGNAL_EXIT_CODES and task.stop_code not in _EXTERNAL_STOP_CODES
    )


def _may_stop_all(settings: ServiceSettings) -> bool:
    """Whether a rolling deployment may stop every task before a new one serves. ECS rounds the minimum up."""
    return settings.desired_count * settings.minimum_healthy_percent <= 0


def _cause_at_target(failure: BalancerFailure, rehearsal: Rehearsal) -> str:
    """Distinguish why a connection failed at a target: its task was killed, was stopping, or closed the connection."""
    task = _task_at(failure, rehearsal.tasks)
    if task is not None and _was_killed(task, failure, rehearsal):
        return KILLED
    if task is not None and _was_stopping(task, failure):
        return DEREGISTRATION_DELAY if _was_deregistered(task) else LAME_DUCK
    if task is not None and (task.healthy_at is None or failure.at < task.healthy_at):
        # Without a healthy target, the load balancer sends requests to all targets, even starting ones.
        return _cause_of_no_targets(failure, rehearsal)
    if failure.target_is_draining and failure.reason != "closed_while_idle":
        return DEREGISTRATION_DELAY
    return _AT_SERVING_TASK.get(failure.reason, UNKNOWN)


def _task_at(failure: BalancerFailure, tasks: Sequence[TaskTimeline]) -> TaskTimeline | None:
    """Return the task that had the target's address at the time. Addresses are reused."""
    ip = failure.target.rpartition(":")[0]
    there = [task for task in tasks if task.private_ip == ip and task.created_at <= failure.at]
    return max(there, key=lambda task: task.created_at, default=None)


def _was_killed(task: TaskTimeline, failure: BalancerFailure, rehearsal: Rehearsal) -> bool:
    """Whether its process crashed or got SIGKILL, without a request to stop."""
    for incident in rehearsal.incidents:
        if incident.task == task.id and incident.kind == "killed":
            return -_CLOCK_TOLERANCE_SECONDS <= failure.at - incident.at <= _DETECTION_SECONDS
    if not _died(task) or (ended := task.stopping_at or task.stopped_at) is None:
        return False
    return failure.at <= ended + _DETECTION_SECONDS


def _was_stopping(task: TaskTimeline, failure: BalancerFailure) -> bool:
    return task.stopping_at is not None and task.stopping_at <= failure.at + _DETECTION_SECONDS


def _was_deregistered(task: TaskTimeline) -> bool:
    """Whether the load balancer deregistered it before its SIGTERM, as the service scheduler does."""
    if task.stop_code in _EXTERNAL_STOP_CODES or task.left_at is None or task.stopping_at is None:
        return False
    return task.left_at <= task.stopping_at


def killed_while_starting(rehearsal: Rehearsal) -> tuple[TaskTimeline, ...]:
    """Return the tasks that health checks killed before they answered any check."""
    return tuple(
        task
        for task in rehearsal.tasks
        if _killed_by_check(task)
        and not _ever_answered(task, rehearsal)
        and not _is_unreachable(task, rehearsal)
    )


def unreachable_tasks(rehearsal: Rehearsal) -> tuple[TaskTimeline, ...]:
    """Return the tasks that health checks killed by timeout. A starting task refuses connections instead."""
    return tuple(
        task for task in rehearsal.tasks if _killed_by_check(task) and _is_unreachable(task, rehearsal)
    )


def _is_unreachable(task: TaskTimeline, rehearsal: Rehearsal) -> bool:
    reasons = {state.reason for state in task.target if state.state == "unhealthy"}
    return reasons == {"Target.Timeout"} or "Request timed out" in _events_about(task, rehearsal)


def _events_about(task: TaskTimeline, rehearsal: Rehearsal) -> str:
    """Return the ECS events about one task. A short state may fall between two polls and appear only there."""
    return " ".join(event.message for event in rehearsal.events if f"(task {task.id})" in event.message)


def _killed_by_check(task: TaskTimeline) -> bool:
    reason = task.stopped_reason.lower()
    return any(words in reason for words in _HEALTH_CHECK_REASONS)


def _ever_answered(task: TaskTimeline, rehearsal: Rehearsal) -> bool:
    if "Health checks failed with these codes" in _events_about(task, rehearsal):
        return True
    return any(
        state.state == "healthy" or state.reason == "Target.ResponseCodeMismatch" for state in task.target
    )

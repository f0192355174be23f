"""Diagnoses a rehearsal: each cause in words, with the setting that would have helped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mclass_tf.rehearsal.causes import (
    ANSWER_CUT_OFF,
    CLIENT,
    DEREGISTRATION_DELAY,
    GRACE_PERIOD,
    IDLE_TIMEOUT,
    KEEP_ALIVE,
    KILLED,
    LAME_DUCK,
    MINIMUM_PERCENT,
    NO_ANSWER,
    PROTECTIONS,
    SECURITY_GROUP,
    SERVICE,
    UNKNOWN,
    VERSION,
    attribute,
    killed_while_starting,
    unreachable_tasks,
)
from mclass_tf.rehearsal.result import Rehearsal, TaskTimeline

# Ids of tasks and sessions differ between tasks, so they are removed from stop reasons.
_ID = re.compile(r"\b[0-9a-f]{32}\b")


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The cause of `failed` failed requests. `cause` is one of PROTECTIONS if a setting would have prevented them."""

    cause: str
    failed: int
    text: str
    advice: str = ""

    @property
    def is_protection(self) -> bool:
        return self.cause in PROTECTIONS


def diagnose(rehearsal: Rehearsal) -> tuple[Diagnosis, ...]:
    """Return the findings, the most failures first. Each failed request counts once."""
    causes = attribute(rehearsal)
    counted = Counter(causes)
    findings = [_finding(cause, count, rehearsal) for cause, count in counted.items()]
    if rehearsal.load.left_out:
        left = f"{rehearsal.load.left_out:,} more failed, and were only counted"
        findings.append(Diagnosis(cause=UNKNOWN, failed=0, text=left))
    if GRACE_PERIOD not in counted and killed_while_starting(rehearsal):
        findings.append(_finding(GRACE_PERIOD, 0, rehearsal))
    findings += [*_unreachable(rehearsal), *_version_failures(rehearsal)]
    return tuple(sorted(findings, key=lambda finding: (-finding.failed, not finding.is_protection)))


def _unreachable(rehearsal: Rehearsal) -> Iterator[Diagnosis]:
    count = len(unreachable_tasks(rehearsal))
    if count:
        tasks = "1 task" if count == 1 else f"{count} tasks"
        yield Diagnosis(
            cause=SECURITY_GROUP,
            failed=0,
            text=f"health checks of {tasks} got no answer at all, not even a refusal",
            advice="security groups: the service's must let the load balancer's in, on the container's port",
        )


def _version_failures(rehearsal: Rehearsal) -> Iterator[Diagnosis]:
    reasons = Counter(_stop_reason(task) for task in rehearsal.tasks if _is_version_failure(task, rehearsal))
    if rehearsal.release is None or rehearsal.release.outcome != "failed":
        return
    for reason, count in reasons.most_common():
        tasks = "1 task" if count == 1 else f"{count} tasks"
        yield Diagnosis(cause=VERSION, failed=0, text=f"{tasks} of the new version ended: {reason}")


def _is_version_failure(task: TaskTimeline, rehearsal: Rehearsal) -> bool:
    newest = max((other.revision for other in rehearsal.tasks), default=0)
    scaled_in = "scaling activity" in task.stopped_reason.lower()
    return task.revision == newest and bool(task.stopped_reason) and not scaled_in


def _stop_reason(task: TaskTimeline) -> str:
    reason = _ID.sub("…", task.stopped_reason.partition(" (port ")[0])
    inner = "" if task.container_reason in task.stopped_reason else f" ({task.container_reason})"
    code = f", exit code {task.exit_code}" if task.exit_code is not None else ""
    return f"{reason}{inner}{code}"


def _finding(cause: str, count: int, rehearsal: Rehearsal) -> Diagnosis:
    text, advice = _EXPLANATIONS[cause](count, rehearsal)
    return Diagnosis(cause=cause, failed=count, text=text, advice=advice)


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _lame_duck(count: int, rehearsal: Rehearsal) -> tuple[str, str]:
    lame_duck = rehearsal.settings.lame_duck
    now = "" if lame_duck is None else f" (MCLASS_LAME_DUCK_SECONDS is {lame_duck:g})"
    return (
        f"{_requests(count)} met a task that had got SIGTERM before the load balancer heard of it, and had stopped serving at once",
        (
            f"lame duck: go on serving for some seconds after SIGTERM{now}; shutdown.lame_duck, 10 s by default, "
            "with stop_timeout of at least lame_duck + longest_request + 2 s"
        ),
    )


def _keep_alive(count: int, rehearsal: Rehearsal) -> tuple[str, str]:
    settings = rehearsal.settings
    now = "" if settings.keep_alive is None else f" It is {settings.keep_alive:g} s now."
    return (
        f"{_requests(count)} went over an idle connection that the service closed at that very moment",
        (
            f"keep-alive: the service must keep idle connections longer than the load balancer, whose idle timeout is "
            f"{settings.idle_timeout} s: MCLASS_KEEP_ALIVE_SECONDS above it.{now}"
        ),
    )


def _deregistration_delay(count: int, rehearsal: Rehearsal) -> tuple[str, str]:
    settings = rehearsal.settings
    return (
        f"{_requests(count)} were cut off at a task that was being drained, before they were done",
        (
            f"deregistration delay: it is {settings.deregistration_delay} s; it must cover the longest request "
            "(shutdown.deregistration_delay, 60 s by default)"
        ),
    )


def _minimum_percent(count: int, rehearsal: Rehearsal) -> tuple[str, str]:
    settings = rehearsal.settings
    return (
        f"{_requests(count)} found no task at all: the deployment may stop all {settings.desired_count} before a new one serves",
        (
            f"minimum healthy percent: it is {settings.minimum_healthy_percent}; with 50 or more, and a maximum of 200, "
            "a new task serves before an old one stops (deployment.minimum_healthy_percent)"
        ),
    )


def _grace_period(count: int, rehearsal: Rehearsal) -> tuple[str, str]:
    settings, killed = rehearsal.settings, killed_while_starting(rehearsal)
    lived = [
        (task.stopping_at - task.started_at) * settings.speed
        for task in killed
        if task.stopping_at is not None and task.started_at is not None
    ]
    after = f" after {max(lived):.0f} s of AWS's time" if lived else ""
    tasks = "1 task" if len(killed) == 1 else f"{len(killed)} tasks"
    failed = f", and {_requests(count)} found none that served" if count else ""
    return (
        f"health checks killed {tasks} while still starting{after}{failed}",
        (
            f"grace period: it is {settings.grace_period} s; it must cover the time that a task takes to start plus "
            f"{settings.health_check_interval} s x {settings.healthy_threshold} of health checks (health_check.grace_period)"
        ),
    )


def _killed(count: int, _rehearsal: Rehearsal) -> tuple[str, str]:
    return (
        f"{_requests(count)} were at a task that died: nothing saves what it worked on",
        "clients that try again, where the request may be repeated",
    )


def _idle_timeout(count: int, rehearsal: Rehearsal) -> tuple[str, str]:
    return (
        f"{_requests(count)} took longer than the load balancer's idle timeout, {rehearsal.settings.idle_timeout} s",
        "idle timeout: raise alb.idle_timeout, and MCLASS_KEEP_ALIVE_SECONDS above it; or answer sooner",
    )


def _no_answer(count: int, _rehearsal: Rehearsal) -> tuple[str, str]:
    return (
        f"{_requests(count)} reached a task that kept serving, and that closed the connection without an answer",
        (
            "look at the logs of the service: a worker that ended, or a handler that gave up. The connection was not idle, "
            "so a longer keep-alive changes nothing"
        ),
    )


def _answer_cut_off(count: int, _rehearsal: Rehearsal) -> tuple[str, str]:
    return (
        f"{_requests(count)} got a part of the answer: the service closed the connection before the end",
        (
            "look at the logs of the service: an error while it sent the body, a time limit of its own, or a Content-Length "
            "above the length of the body"
        ),
    )


def _client(count: int, _rehearsal: Rehearsal) -> tuple[str, str]:
    return (
        f"{_requests(count)} were given up by the client before the whole answer had come",
        "answer sooner: look at the latencies, and at the logs of the service. The load balancer logs these requests with 460",
    )


def _service(count: int, _rehearsal: Rehearsal) -> tuple[str, str]:
    return (
        f"{_requests(count)} got an error from the service itself",
        "look at the logs of the service: the load balancer passed the answers on",
    )


def _died_after_healthy(count: int, _rehearsal: Rehearsal) -> tuple[str, str]:
    return (
        f"{_requests(count)} found no task that served: those of the new version had died after they had been healthy",
        (
            "a rolling deployment stops the old tasks as soon as the new ones are healthy; a bake time, as blue/green and canary "
            "deployments have, keeps them"
        ),
    )


def _unknown(count: int, _rehearsal: Rehearsal) -> tuple[str, str]:
    return (
        f"{_requests(count)} failed in a way that none of the settings explains",
        "look at the table of failed requests, and at the log of the local AWS",
    )


_EXPLANATIONS = {
    LAME_DUCK: _lame_duck,
    KEEP_ALIVE: _keep_alive,
    DEREGISTRATION_DELAY: _deregistration_delay,
    MINIMUM_PERCENT: _minimum_percent,
    GRACE_PERIOD: _grace_period,
    KILLED: _killed,
    IDLE_TIMEOUT: _idle_timeout,
    NO_ANSWER: _no_answer,
    ANSWER_CUT_OFF: _answer_cut_off,
    CLIENT: _client,
    SERVICE: _service,
    VERSION: _died_after_healthy,
    UNKNOWN: _unknown,
}

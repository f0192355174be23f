"""Why a rollout failed, in one sentence, and what to do next: from its stopped tasks, or else from ECS's own reasons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mclass_tf.errors import Hint, ServiceEvent
from mclass_tf.service import Container, Deployment, ServiceDeployment, Task

# A task that the scheduler stops because it is no longer needed has not failed.
_UNWANTED = "Scaling activity initiated by"
_SIGNALS = {137: "SIGKILL", 139: "SIGSEGV", 143: "SIGTERM"}
_LONGEST = 400


@dataclass(frozen=True, kw_only=True)
class FailureCause:
    """`sentence` is one sentence without a period, `hint` the next step."""

    sentence: str
    hint: str


def explain(
    *,
    stopped: Iterable[Task],
    deployment: ServiceDeployment,
    primary: Deployment | None,
    events: Sequence[ServiceEvent],
    environment: str,
    log_group: str,
) -> FailureCause:
    """Return the cause. `stopped` are the tasks of the failed revision; the hint's commands name `environment`."""
    sentence = (
        _of_tasks(stopped) or _of_hooks(deployment) or _of_events(events) or _of_ecs(deployment, primary)
    )
    return _with_hint(sentence, environment=environment, logs=f"aws logs tail {log_group} --since 1h")


def explain_task(task: Task, *, environment: str, logs: str) -> FailureCause:
    """Return why one task ended; `logs` is the command that shows its log."""
    return _with_hint(_of_task(task) or "ECS gives no reason", environment=environment, logs=logs)


def _with_hint(sentence: str, *, environment: str, logs: str) -> FailureCause:
    function = re.search(r"Lambda hook ([\w-]+)", sentence)
    hints = _hints(environment, logs=logs, function=function[1] if function else "")
    otherwise = f"the log of the tasks may say more: {logs}"
    return FailureCause(
        sentence=sentence,
        hint=next((hint for pattern, hint in hints if re.search(pattern, sentence)), otherwise),
    )


def _hints(environment: str, *, logs: str, function: str) -> tuple[tuple[str, str], ...]:
    """Return pairs of a pattern of causes and a hint. The first match counts.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
    """
    status, verify = ("status", environment), ("verify", environment)
    push, release = ("push", environment), ("release", environment)
    return (
        (
            r"CannotPullContainer|ImageNotFound|pull image",
            Hint("is the image in the repository, and may the execution role pull it? ", push, ", ", verify),
        ),
        (
            r"ResourceInitialization",
            Hint(
                "a task could not reach ECR, its logs or its secrets: ",
                verify,
                " checks routes, endpoints and roles",
            ),
        ),
        (
            r"executable file not found|no such file or directory",
            "the image has no such program: name one that it has",
        ),
        (
            r"OutOfMemory|memory usage",
            "give it more memory: `task` in terraform.tfvars; or find what eats it",
        ),
        (
            r"ELB health checks|health checks",
            (
                f"the path of the health check must answer in time; the log says what the service did: {logs}; "
                "a slow starter needs health_check.grace_period and start_period in terraform.tfvars"
            ),
        ),
        (
            r"a pause",
            Hint("release again; ", release, " adopts a rollout that still waits"),
        ),
        (r"Lambda hook", f"what the function said: aws logs tail /aws/lambda/{function} --since 1h"),
        (r"unable to place|capacity", "Fargate had no room: try again, or add FARGATE beside FARGATE_SPOT"),
        (
            r"requested|by user",
            Hint("that was asked for: ", status, " shows what runs; release again when the problem is fixed"),
        ),
        (r"alarm", "see what the alarm measured; release again when the problem is fixed"),
        (r"exited|exit code", f"its log says why: {logs}"),
    )


def _of_tasks(stopped: Iterable[Task]) -> str:
    """Return the most frequent cause; of equally frequent ones, that of the latest task."""
    failed = [task for task in stopped if not task.stopped_reason.startswith(_UNWANTED)]
    failed.sort(key=lambda task: task.stopped_at.timestamp() if task.stopped_at else 0.0, reverse=True)
    counted = Counter(filter(None, map(_of_task, failed)))
    if not counted:
        return ""
    ((sentence, count),) = counted.most_common(1)
    return f"{count} {'task' if count == 1 else 'tasks'} failed: {sentence}"


def _of_task(task: Task) -> str:
    reasons = [words for words in map(_of_container, task.containers) if words]
    # ECS gives a task that could not start and its container the same reason.
    reasons = [words for words in reasons if not task.stopped_reason or words not in task.stopped_reason]
    # ECS's reason is only "Essential container in task exited"; the container's reason is more specific.
    if reasons and (not task.stopped_reason or "Essential container" in task.stopped_reason):
        return _one_line("; ".join(reasons))
    return _one_line("; ".join([task.stopped_reason, *reasons] if task.stopped_reason else reasons))


def _of_container(container: Container) -> str:
    code = container.exit_code
    if not code and not container.reason:
        return ""
    if code is None:
        return container.reason
    by_signal = f" ({_SIGNALS[code]})" if code in _SIGNALS else ""
    exited = f"the container {container.name} exited with {code}{by_signal}"
    return f"{exited}: {container.reason}" if container.reason else exited


def _of_hooks(deployment: ServiceDeployment) -> str:
    """Return the hook that ended the rollout; "" if alarms ended it, since ECS then waits for no hook."""
    if deployment.alarms:
        return ""
    for hook in deployment.hooks:
        name = hook.target_arn.partition(":function:")[2] or hook.target_arn
        cause = {
            ("PAUSE", "FAILED"): "rolled back by a user: a pause was answered with a rollback",
            ("PAUSE", "TIMED_OUT"): "nobody answered a pause in time",
            ("AWS_LAMBDA", "FAILED"): f"the Lambda hook {name} failed",
            ("AWS_LAMBDA", "TIMED_OUT"): f"the Lambda hook {name} did not finish in time",
        }.get((hook.kind, hook.status), "")
        if cause and (hook.rolls_back or hook.status == "FAILED"):
            return cause
    return ""


def _of_events(events: Sequence[ServiceEvent]) -> str:
    """Return the latest event that explains why no task could start."""
    placed = [event.message for event in events if "unable to" in event.message]
    return _one_line(placed[-1]) if placed else ""


def _of_ecs(deployment: ServiceDeployment, primary: Deployment | None) -> str:
    if deployment.alarms:
        return f"alarms went off: {', '.join(deployment.alarms)}"
    said = (deployment.rollback_reason, deployment.status_reason, primary.rollout_reason if primary else "")
    return _one_line(next(filter(None, said), "ECS gives no reason")).rstrip(".")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"

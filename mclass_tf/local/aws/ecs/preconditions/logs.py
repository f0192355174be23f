"""Checks the awslogs driver: options, log group, permissions and network path to CloudWatch Logs.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from moto.logs.models import logs_backends

from mclass_tf.local.aws import regions
from mclass_tf.local.aws.ecs.model import task_logs
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.preconditions import messages, network, roles

_REQUIRED = ("awslogs-group", "awslogs-region", "awslogs-stream-prefix")
_NO_GROUP = "ResourceNotFoundException: The specified log group does not exist."


def log_errors(task: Task) -> Iterator[str | None]:
    """Yield for each container with the awslogs driver why it cannot log, or None if it can."""
    for destination, options in task_logs.log_destinations(task):
        yield _error(task, destination, options=options)


def may_put_events(task: Task, destination: task_logs.LogDestination) -> bool:
    """Return whether the task may write events. Without the permission it runs, and its output is lost."""
    return roles.denial(task, action="logs:PutLogEvents", resource=_arn(destination)) is None


def _error(task: Task, destination: task_logs.LogDestination, *, options: Mapping[str, str]) -> str | None:
    missing = next((name for name in _REQUIRED if not options.get(name)), None)
    if missing is not None:
        return f"{messages.LOGGER_ERROR}unable to get awslogs driver arguments: {missing} is required"
    known = regions.is_known(destination.region)
    blocked = network.blocked(task, service="logs", region=destination.region) if known else None
    if blocked is not None or not known:
        cause = f"there is no region {destination.region}" if blocked is None else blocked.cause
        return (
            f"{messages.LOGGER_ERROR}The task cannot find the Amazon CloudWatch log group defined in the task definition. There is "
            "a connection issue between the task and Amazon CloudWatch. Check your network configuration. : signal: "
            f"killed{messages.local_cause(cause)}"
        )
    exists = destination.group in logs_backends[destination.account_id][destination.region].groups
    if not exists and options.get("awslogs-create-group") == "true":
        denial = roles.denial(task, action="logs:CreateLogGroup", resource=_group_arn(destination))
        return None if denial is None else _creation_error("group", f"AccessDeniedException: {denial} ")
    denial = roles.denial(task, action="logs:CreateLogStream", resource=_arn(destination))
    if denial is not None:
        return _creation_error("stream", f"AccessDeniedException: {denial} ")
    return None if exists else _creation_error("stream", f"{_NO_GROUP} ")


def _creation_error(resource: str, error: str) -> str:
    return (
        f"{messages.LOGGER_ERROR}create stream has been retried 1 times: failed to create Cloudwatch log {resource}: {error}"
        ": exit status 1"
    )


def _group_arn(destination: task_logs.LogDestination) -> str:
    return f"arn:aws:logs:{destination.region}:{destination.account_id}:log-group:{destination.group}:log-stream:"


def _arn(destination: task_logs.LogDestination) -> str:
    return f"{_group_arn(destination)}{destination.stream}"

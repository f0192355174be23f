"""Whether the awslogs driver can begin: its options, the group, the role and the way to CloudWatch Logs.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from moto.logs.models import logs_backends

from mclass_tf.local.aws import regions
from mclass_tf.local.aws.ecs.model import task_logs
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.preconditions import network, roles, words

_REQUIRED = ("awslogs-group", "awslogs-region", "awslogs-stream-prefix")
_NO_GROUP = "ResourceNotFoundException: The specified log group does not exist."


def unwritable(task: Task) -> Iterator[str | None]:
    """Yield for each container with the awslogs driver why it cannot log, or None."""
    for place, options in task_logs.destinations(task):
        yield _why(task, place, options=options)


def may_put_events(task: Task, place: task_logs.Destination) -> bool:
    """Without the permission a task runs, and what it writes is lost."""
    return roles.denial(task, action="logs:PutLogEvents", resource=_arn(place)) is None


def _why(task: Task, place: task_logs.Destination, *, options: Mapping[str, str]) -> str | None:
    missing = next((name for name in _REQUIRED if not options.get(name)), None)
    if missing is not None:
        return f"{words.LOGGER}unable to get awslogs driver arguments: {missing} is required"
    known = regions.is_known(place.region)
    blocked = network.blocked(task, service="logs", region=place.region) if known else None
    if blocked is not None or not known:
        cause = f"there is no region {place.region}" if blocked is None else blocked.cause
        return (
            f"{words.LOGGER}The task cannot find the Amazon CloudWatch log group defined in the task definition. There is "
            "a connection issue between the task and Amazon CloudWatch. Check your network configuration. : signal: "
            f"killed{words.local_cause(cause)}"
        )
    exists = place.group in logs_backends[place.account_id][place.region].groups
    if not exists and options.get("awslogs-create-group") == "true":
        denial = roles.denial(task, action="logs:CreateLogGroup", resource=_group_arn(place))
        return None if denial is None else _failed("group", f"AccessDeniedException: {denial} ")
    denial = roles.denial(task, action="logs:CreateLogStream", resource=_arn(place))
    if denial is not None:
        return _failed("stream", f"AccessDeniedException: {denial} ")
    return None if exists else _failed("stream", f"{_NO_GROUP} ")


def _failed(what: str, error: str) -> str:
    return (
        f"{words.LOGGER}create stream has been retried 1 times: failed to create Cloudwatch log {what}: {error}"
        ": exit status 1"
    )


def _group_arn(place: task_logs.Destination) -> str:
    return f"arn:aws:logs:{place.region}:{place.account_id}:log-group:{place.group}:log-stream:"


def _arn(place: task_logs.Destination) -> str:
    return f"{_group_arn(place)}{place.stream}"

"""The log of a task's container, read from CloudWatch Logs as it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mclass_tf.aws import error_code, error_message
from mclass_tf.rollout import Patience

_DRIVER = "awslogs"


class LogsClient(Protocol):
    """The part of boto3's CloudWatch Logs client in use."""

    def get_log_events(
        self,
        *,
        logGroupName: str,  # noqa: N803  # boto3's names
        logStreamName: str,  # noqa: N803
        startFromHead: bool,  # noqa: N803
        nextToken: str = ...,  # noqa: N803
    ) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class LogStream:
    """The log stream of a container. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html"""

    group: str
    name: str

    @property
    def command(self) -> str:
        """The shell command that shows the stream."""
        return f"aws logs tail {self.group} --log-stream-names {self.name} --since 1d"


def stream_of(container: Mapping[str, Any], *, task_id: str, region: str) -> LogStream | None:
    """Return the log stream of a container definition; None if it does not log to CloudWatch Logs in `region`."""
    configuration = container.get("logConfiguration") or {}
    options = configuration.get("options") or {}
    if configuration.get("logDriver") != _DRIVER or options.get("awslogs-region", region) != region:
        return None
    # Fargate requires a prefix.
    prefix = options.get("awslogs-stream-prefix", "")
    return LogStream(group=options.get("awslogs-group", ""), name=f"{prefix}/{container['name']}/{task_id}")


class TaskLog:
    """Reads a log stream from its beginning, each line once."""

    def __init__(
        self, logs: LogsClient, stream: LogStream, *, patience: Patience, report: Callable[[str], None]
    ) -> None:
        self._logs = logs
        self._stream = stream
        self._patience = patience
        self._report = report
        self._token = ""
        self._is_refused = False

    def read(self) -> Iterator[str]:
        """Yield new lines. If reading is not permitted, report that once and yield nothing.

        The stream ends, for now, where the token stays the same.
        https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
        """
        while (page := self._page()) is not None:
            yield from (str(event["message"]).rstrip("\n") for event in page["events"])
            before, self._token = self._token, str(page["nextForwardToken"])
            if self._token == before:
                return

    def _page(self) -> Mapping[str, Any] | None:
        if self._is_refused:
            return None
        try:
            return self._patience(self._request_page)
        except Exception as error:
            code = error_code(error)
            if not code:
                raise
            # The stream is created when the container starts.
            if code != "ResourceNotFoundException":
                self._is_refused = True
                self._report(f"the log {self._stream.name} cannot be read: {error_message(error)}")
            return None

    def _request_page(self) -> Mapping[str, Any]:
        further = {"nextToken": self._token} if self._token else {}
        return self._logs.get_log_events(
            logGroupName=self._stream.group, logStreamName=self._stream.name, startFromHead=True, **further
        )

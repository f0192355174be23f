"""CloudWatch Logs: log groups and their keys."""

from __future__ import annotations

from typing import Any

from moto.logs import urls
from moto.logs.exceptions import InvalidParameterException, ResourceNotFoundException
from moto.logs.models import LogsBackend, logs_backends
from moto.logs.responses import LogsResponse

from mclass_tf.local.aws import kept_events, kms, pages
from mclass_tf.local.aws.extend import use_backend, use_responses
from mclass_tf.local.aws.regions import dns_suffix

_MOST_GROUPS = 50  # of a page of log groups; AWS refuses a larger limit
_RETENTIONS = frozenset(
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]
)


_LARGEST_PAGE = 10_000


class LocalLogsBackend(LogsBackend):  # type: ignore[misc]  # moto is not typed for us
    def create_log_group(self, log_group_name: str, tags: dict[str, str], **kwargs: Any) -> Any:
        self.check_key(log_group_name, kwargs.get("kmsKeyId"))
        return super().create_log_group(log_group_name, tags, **kwargs)

    def put_log_events(
        self, log_group_name: str, log_stream_name: str, log_events: list[dict[str, Any]]
    ) -> tuple[str, dict[str, Any]]:
        """Apply AWS's limits to the batch, and bound the events that are kept. moto does neither."""
        problem = kept_events.check_batch(log_events)
        if problem is not None:
            raise InvalidParameterException(problem)
        group = self.groups.get(log_group_name)
        stream = None if group is None else group.streams.get(log_stream_name)
        before = 0 if stream is None else len(stream.events)
        answer: tuple[str, dict[str, Any]] = super().put_log_events(
            log_group_name, log_stream_name, log_events
        )
        if stream is not None:
            kept_events.bound(stream, added=len(stream.events) - before)
        return answer

    def filter_log_events(  # noqa: PLR0917  moto's signature
        self,
        log_group_name: str,
        log_stream_names: list[str],
        start_time: int,
        end_time: int,
        limit: int | None,
        next_token: str | None,
        filter_pattern: str,
        interleaved: bool,  # noqa: ARG002, FBT001  AWS ignores it
    ) -> Any:
        """Return the events of all streams in one order: by time, then by ingestion. moto returns one stream after another.

        https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
        """
        group = self.groups.get(log_group_name)
        if group is None:
            raise ResourceNotFoundException
        if limit is not None and limit > _LARGEST_PAGE:
            constraint = f"Member must have value less than or equal to {_LARGEST_PAGE}"
            raise InvalidParameterException(constraint=constraint, parameter="limit", value=limit)
        streams = {
            name: stream
            for name, stream in group.streams.items()
            if not log_stream_names or name in log_stream_names
        }
        events = [
            event
            for stream in streams.values()
            for event in stream.filter_log_events(start_time, end_time, filter_pattern)
        ]
        events.sort(key=_order)
        if next_token:
            after = _position(next_token, group=log_group_name)
            # AWS returns no events for an invalid token.
            events = [] if after is None else [event for event in events if _order(event) > after]
        page = events[: limit or _LARGEST_PAGE]
        more = _token(page[-1], group=log_group_name) if len(page) < len(events) else None
        searched = [{"logStreamName": name, "searchedCompletely": True} for name in streams]
        return page, more, searched

    def put_retention_policy(self, log_group_name: str, retention_in_days: Any) -> None:
        """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"""
        if int(retention_in_days) not in _RETENTIONS:
            raise InvalidParameterException(
                f"1 validation error detected: Value '{retention_in_days}' at 'retentionInDays' failed to satisfy "
                f"constraint: Member must satisfy enum value set: {sorted(_RETENTIONS)}"
            )
        super().put_retention_policy(log_group_name, retention_in_days)

    def check_key(self, log_group_name: str, key_arn: str | None) -> None:
        """Reject a key that does not exist, is disabled or does not allow CloudWatch Logs. moto accepts any text.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
        """
        if not key_arn:
            return
        key = kms.usable_key(account_id=self.account_id, region=self.region_name, reference=key_arn)
        principal = f"logs.{self.region_name}.{dns_suffix(self.region_name)}"
        if key is None or not kms.allows_service(key, service=principal):
            arn = f"arn:{self.partition}:logs:{self.region_name}:{self.account_id}:log-group:{log_group_name}"
            raise InvalidParameterException(
                f"The specified KMS key does not exist or is not allowed to be used with Arn '{arn}'"
            )


def _order(event: dict[str, Any]) -> tuple[int, int, int]:
    """Return what FilterLogEvents sorts by. Event ids ascend in the order of PutLogEvents."""
    return event["timestamp"], event["ingestionTime"], int(event["eventId"])


def _token(last: dict[str, Any], *, group: str) -> str:
    return "@".join((group, *(str(part) for part in _order(last))))


def _position(token: str, *, group: str) -> tuple[int, ...] | None:
    name, *parts = token.rsplit("@", 3)
    is_valid = name == group and len(parts) == 3 and all(part.isdecimal() for part in parts)  # noqa: PLR2004
    return tuple(int(part) for part in parts) if is_valid else None


class LocalLogsResponses(LogsResponse):  # type: ignore[misc]
    """Adds changing the key of a log group, which the provider does in place and moto lacks.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_AssociateKmsKey.html
    """

    def _get_param(self, param_name: str, if_none: Any = None) -> Any:
        value = super()._get_param(param_name, if_none)
        is_short = (
            param_name == "limit" and self._get_action() == "DescribeLogGroups" and value <= _MOST_GROUPS
        )
        return pages.size(value) if is_short else value

    def associate_kms_key(self) -> str:
        key = self._get_param("kmsKeyId")
        group = self._group()
        self.logs_backend.check_key(group.name, key)
        group.kms_key_id = key
        return ""

    def disassociate_kms_key(self) -> str:
        self._group().kms_key_id = None
        return ""

    def _group(self) -> Any:
        group = self.logs_backend.groups.get(self._get_param("logGroupName"))
        if group is None:
            raise ResourceNotFoundException
        return group


def install() -> None:
    use_backend(backends=logs_backends, urls=urls, backend=LocalLogsBackend)
    use_responses(urls=urls, responses=LocalLogsResponses)

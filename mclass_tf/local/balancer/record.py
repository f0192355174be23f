"""The data of a request under way, for the access log, the metrics and failure reports."""

from __future__ import annotations

import time
from time import monotonic

from mclass_tf.local.balancer.completed import CompletedRequest, ConnectionInfo
from mclass_tf.local.balancer.groups import GroupState, TargetState
from mclass_tf.local.balancer.messages.request import ClientRequest
from mclass_tf.local.balancer.report import Failure

_MAX_PATH = 2048  # bytes


class ExchangeRecord:
    """The fields have the meaning of those of `CompletedRequest`."""

    __slots__ = (
        "action",
        "answered_at",
        "group",
        "location",
        "priority",
        "received",
        "rule_arn",
        "sent",
        "sent_at",
        "status",
        "target",
        "target_status",
    )

    def __init__(self) -> None:
        self.group: GroupState | None = None
        self.target: TargetState | None = None
        self.priority: int | None = None
        self.rule_arn = self.action = self.location = ""
        self.status = self.target_status = 0
        self.received = self.sent = 0
        self.sent_at = self.answered_at = 0.0

    def completed(self, connection: ConnectionInfo, request: ClientRequest) -> CompletedRequest:
        group, target = self.group, self.target
        return CompletedRequest(
            connection=connection,
            request=request,
            rule_arn=self.rule_arn,
            priority=self.priority,
            action=self.action,
            location=self.location,
            target_group_arn=None if group is None else group.arn,
            target=None if target is None else target.name,
            status=self.status,
            target_status=self.target_status,
            received=self.received,
            sent=self.sent,
            sent_at=self.sent_at,
            answered_at=self.answered_at,
            ended_at=monotonic(),
        )

    def failure(
        self, connection: ConnectionInfo, request: ClientRequest, status: int, reason: str
    ) -> Failure:
        group, target = self.group, self.target
        now = monotonic()
        return Failure(
            at=time.time(),
            load_balancer_arn=connection.load_balancer_arn,
            target_group_arn=None if group is None else group.arn,
            target=None if target is None else target.name,
            target_is_draining=target is not None and (target.is_draining or target.is_gone),
            status=status,
            reason=reason,
            method=request.method.decode("latin-1"),
            path=request.path[:_MAX_PATH].decode(errors="backslashreplace"),
            in_flight_seconds=now - (self.sent_at or now),
        )

"""An answered request, as the access log and the metrics need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mclass_tf.local.balancer.messages.request import ClientRequest
from mclass_tf.local.balancer.messages.target_answer import SWITCHING


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionInfo:
    """A client's connection. `cipher` and `tls_version` are "-" without TLS."""

    listener_arn: str
    load_balancer_arn: str
    protocol: str
    port: int
    client_ip: str
    client_port: int
    cipher: str
    tls_version: str
    trace_id: str

    @property
    def is_encrypted(self) -> bool:
        return self.tls_version != "-"


class CompletedRequest(NamedTuple):
    """Times are seconds of the monotonic clock, 0 if the event did not happen. Sizes are bytes, without the request's head.

    `target` is the chosen target, which may never have been reached. `target_status` is 0 if it did not answer.
    `action` is that of the matching rule, as the access log names it.
    A named tuple, because there is one for each request and a frozen dataclass takes longer to create.
    """

    connection: ConnectionInfo
    request: ClientRequest
    rule_arn: str
    priority: int | None
    action: str
    location: str
    target_group_arn: str | None
    target: str | None
    status: int
    target_status: int
    received: int
    sent: int
    sent_at: float
    answered_at: float
    ended_at: float

    @property
    def is_websocket(self) -> bool:
        return self.target_status == SWITCHING

    @property
    def response_time(self) -> float:
        """CloudWatch's TargetResponseTime, in seconds."""
        return self.answered_at - self.sent_at

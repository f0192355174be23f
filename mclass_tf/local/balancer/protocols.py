"""Protocols for parts of the data plane that need each other but may not import each other."""

from __future__ import annotations

from typing import Protocol

from mclass_tf.local.balancer.completed import ConnectionInfo
from mclass_tf.local.balancer.messages.request import ClientRequest
from mclass_tf.local.balancer.messages.target_answer import TargetAnswer


class ExchangeClient(Protocol):
    """What an exchange needs of its client's connection.

    `holds`: the reasons why it is not being read. `touched`: the time of its last activity.
    """

    connection: ConnectionInfo
    forwarded: bytes
    forwarded_for: bytes
    holds: set[str]
    is_slow: bool
    touched: float

    @property
    def closes(self) -> bool:
        """Whether the connection closes after the current answer."""

    def is_expired(self) -> bool: ...

    def send(self, data: bytes) -> None: ...

    def flush(self) -> None: ...

    def hold(self, reason: str) -> None:
        """Pause reading until every reason is released."""

    def release(self, reason: str) -> None: ...

    def close_after_answer(self) -> None: ...

    def reset_after_answer(self) -> None:
        """Close by a reset, so that the client cannot mistake the answer for complete."""

    def upgraded(self) -> None:
        """Forward bytes unchanged from now on."""

    def exchange_ended(self) -> None: ...


class AnswerReceiver(Protocol):
    """What a connection to a target needs of the exchange that it carries."""

    @property
    def client(self) -> ExchangeClient: ...

    @property
    def request(self) -> ClientRequest: ...

    @property
    def may_keep_connection(self) -> bool:
        """Whether the connection may return to the pool."""

    def answer_head(self, answer: TargetAnswer) -> None: ...

    def answer_body(self, data: bytes) -> None: ...

    def answer_ended(self) -> None: ...

    def answer_lost(self, reason: str) -> None:
        """Handle an answer that will not be completed; `reason` as in `report.Failure`."""


class PooledConnection(Protocol):
    """What an exchange and its target need of a connection to the target. `started`: the time when the request was sent."""

    exchange: AnswerReceiver | None
    started: float

    def start(self, exchange: AnswerReceiver) -> None: ...

    def write(self, data: bytes) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...


class OutstandingRequest(Protocol):
    """What a target needs of an unanswered request."""

    def cancel(self) -> None:
        """Stop waiting for the target."""


class AdmittedClient(Protocol):
    """What the capacity needs of a client's connection."""

    touched: float

    @property
    def is_awaiting_client(self) -> bool:
        """Whether the load balancer waits for the client: for a request, for the rest of one, or for it to disconnect."""

    def disconnect(self) -> None: ...


class ListenerClient(Protocol):
    """What a listener needs of a client's connection."""

    def listener_closed(self) -> None: ...

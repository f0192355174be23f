"""What the parts of the data plane need of each other, where neither may import the other."""

from __future__ import annotations

from typing import Protocol

from mclass_tf.local.balancer.completed import ConnectionInfo
from mclass_tf.local.balancer.messages.request import ClientRequest
from mclass_tf.local.balancer.messages.target_answer import TargetAnswer


class ExchangeClient(Protocol):
    """What an exchange needs of its client's connection.

    `holds`: why it is not read at the moment. `touched`: when something last moved on it.
    """

    connection: ConnectionInfo
    forwarded: bytes
    forwarded_for: bytes
    holds: set[str]
    is_slow: bool
    touched: float

    @property
    def closes(self) -> bool:
        """Whether the answer under way is the last one."""

    def is_expired(self) -> bool: ...

    def send(self, data: bytes) -> None: ...

    def flush(self) -> None: ...

    def hold(self, reason: str) -> None:
        """Read no more until every reason is gone."""

    def release(self, reason: str) -> None: ...

    def close_after_answer(self) -> None: ...

    def reset_after_answer(self) -> None:
        """Close such that what was sent cannot be taken for whole."""

    def upgraded(self) -> None:
        """Pass bytes on as they are from now on."""

    def exchange_ended(self) -> None: ...


class AnswerReceiver(Protocol):
    """What a connection to a target needs of the exchange that it carries."""

    @property
    def client(self) -> ExchangeClient: ...

    @property
    def request(self) -> ClientRequest: ...

    @property
    def may_keep_connection(self) -> bool:
        """Whether the connection may wait for another request."""

    def answer_head(self, answer: TargetAnswer) -> None: ...

    def answer_body(self, data: bytes) -> None: ...

    def answer_ended(self) -> None: ...

    def answer_lost(self, reason: str) -> None:
        """Take it that the rest of the answer does not come; `reason` as in `report.Failure`."""


class PooledConnection(Protocol):
    """What an exchange and its target need of a connection to the target. `started`: when the request was sent."""

    exchange: AnswerReceiver | None
    started: float

    def start(self, exchange: AnswerReceiver) -> None: ...

    def write(self, data: bytes) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...


class OutstandingRequest(Protocol):
    """What a target needs of a request that it has not answered."""

    def cancel(self) -> None:
        """Wait for the target no longer."""


class AdmittedClient(Protocol):
    """What the capacity needs of a client's connection."""

    touched: float

    @property
    def is_awaiting_client(self) -> bool:
        """Whether it is the client's turn: to send a request, or the rest of one, or to be gone."""

    def disconnect(self) -> None: ...


class ListenerClient(Protocol):
    """What a listener needs of a client's connection."""

    def listener_closed(self) -> None: ...

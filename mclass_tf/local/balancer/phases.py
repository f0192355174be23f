"""The phases of connections, requests and answers, with all transitions in one table.

Modules bind Enum members to module constants, because access to an Enum member takes half a microsecond in Python 3.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import Enum, auto
from typing import TypeVar, cast


class Phase(Enum):
    """Each object has exactly one phase of its kind."""

    __hash__ = object.__hash__  # Enum's own is written in Python and as slow


class RequestPhase(Phase):
    """The progress of a request from its client to the target."""

    RECEIVING = auto()
    RECEIVED = auto()
    SENT = auto()


class ExchangePhase(Phase):
    """The progress of the answer to a request."""

    QUEUED = auto()  # behind earlier requests of the client
    PENDING = auto()
    ANSWERING = auto()  # the head has been sent to the client
    TUNNEL = auto()  # the target has switched to WebSocket
    OVER = auto()


class ReadingPhase(Phase):
    """What happens to bytes from a client."""

    WAITING = auto()
    READING = auto()
    UPGRADING = auto()  # buffered until the target accepts or declines the other protocol
    TUNNEL = auto()
    REFUSED = auto()  # ignored after an invalid request
    STOPPED = auto()  # ignored


class ClientPhase(Phase):
    """The phase of a client's connection."""

    OPEN = auto()
    LAST_ANSWER = auto()
    CLOSING = auto()  # after a flush of what was written
    RESETTING = auto()  # after the flush, by a reset
    CLOSED = auto()
    LOST = auto()


class TargetPhase(Phase):
    """The phase of a connection to a target. LOST: the target closed it, but a request may still be sent (`target/connection.py`)."""

    IDLE = auto()
    BUSY = auto()
    IDLE_LOST = auto()
    BUSY_LOST = auto()
    CLOSED = auto()


class AnswerPhase(Phase):
    """The progress of reading a target's answer."""

    HEAD = auto()
    INTERIM = auto()  # after the head of an interim answer
    BODY = auto()
    BODY_UNTIL_CLOSE = auto()
    TUNNEL = auto()
    COMPLETE = auto()
    SURPLUS = auto()  # after bytes behind the answer


class IllegalTransitionError(AssertionError):
    """A bug: the table does not contain the transition."""


TRANSITIONS: Mapping[Phase, AbstractSet[Phase]] = {
    RequestPhase.RECEIVING: {RequestPhase.RECEIVED},
    RequestPhase.RECEIVED: {RequestPhase.SENT},
    RequestPhase.SENT: set(),
    ExchangePhase.QUEUED: {ExchangePhase.PENDING},
    ExchangePhase.PENDING: {ExchangePhase.ANSWERING, ExchangePhase.TUNNEL, ExchangePhase.OVER},
    ExchangePhase.ANSWERING: {ExchangePhase.OVER},
    ExchangePhase.TUNNEL: {ExchangePhase.OVER},
    ExchangePhase.OVER: set(),
    ReadingPhase.WAITING: {ReadingPhase.READING, ReadingPhase.STOPPED},
    ReadingPhase.READING: {
        ReadingPhase.WAITING,
        ReadingPhase.UPGRADING,
        ReadingPhase.REFUSED,
        ReadingPhase.STOPPED,
    },
    ReadingPhase.UPGRADING: {ReadingPhase.WAITING, ReadingPhase.TUNNEL, ReadingPhase.STOPPED},
    ReadingPhase.TUNNEL: {ReadingPhase.STOPPED},
    ReadingPhase.REFUSED: set(),
    ReadingPhase.STOPPED: set(),
    ClientPhase.OPEN: {ClientPhase.LAST_ANSWER, ClientPhase.CLOSING, ClientPhase.RESETTING, ClientPhase.LOST},
    ClientPhase.LAST_ANSWER: {ClientPhase.CLOSING, ClientPhase.RESETTING, ClientPhase.LOST},
    ClientPhase.CLOSING: {ClientPhase.CLOSED, ClientPhase.LOST},
    ClientPhase.RESETTING: {ClientPhase.CLOSED, ClientPhase.LOST},
    ClientPhase.CLOSED: {ClientPhase.LOST},
    ClientPhase.LOST: set(),
    TargetPhase.IDLE: {TargetPhase.BUSY, TargetPhase.IDLE_LOST, TargetPhase.CLOSED},
    TargetPhase.BUSY: {TargetPhase.IDLE, TargetPhase.CLOSED},
    TargetPhase.IDLE_LOST: {TargetPhase.BUSY_LOST, TargetPhase.CLOSED},
    TargetPhase.BUSY_LOST: {TargetPhase.CLOSED},
    TargetPhase.CLOSED: set(),
    AnswerPhase.HEAD: {
        AnswerPhase.INTERIM,
        AnswerPhase.BODY,
        AnswerPhase.BODY_UNTIL_CLOSE,
        AnswerPhase.TUNNEL,
        AnswerPhase.COMPLETE,
    },
    AnswerPhase.INTERIM: {AnswerPhase.HEAD},
    AnswerPhase.BODY: {AnswerPhase.COMPLETE},
    AnswerPhase.BODY_UNTIL_CLOSE: {AnswerPhase.COMPLETE},
    AnswerPhase.TUNNEL: set(),
    AnswerPhase.COMPLETE: {AnswerPhase.HEAD, AnswerPhase.SURPLUS},
    AnswerPhase.SURPLUS: set(),
}

P = TypeVar("P", bound=Phase)


class TransitionTo(dict[P, P]):
    """Maps each phase that may precede `phase` to it. The look-up is the check, without a function call."""

    def __init__(self, phase: P) -> None:
        super().__init__(
            (cast("P", current), phase) for current, following in TRANSITIONS.items() if phase in following
        )
        self._phase = phase

    def __missing__(self, current: P) -> P:
        raise IllegalTransitionError(f"{current} to {self._phase}")

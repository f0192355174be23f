"""The phases of what lives on a connection, with the transitions between them in one table.

Modules bind the members that they use to names of their own: access to a member of an Enum takes half a microsecond in Python 3.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import Enum, auto
from typing import TypeVar, cast


class Phase(Enum):
    """Of an object there is one at a time."""

    __hash__ = object.__hash__  # that of Enum is written in Python, and as slow


class RequestPhase(Phase):
    """How far a request has come from its client, and on to the target."""

    RECEIVING = auto()
    RECEIVED = auto()
    SENT = auto()


class ExchangePhase(Phase):
    """How far the answer to a request is."""

    QUEUED = auto()  # other requests of the client come first
    PENDING = auto()
    ANSWERING = auto()  # the head has been sent to the client
    TUNNEL = auto()  # the target has switched to WebSocket
    OVER = auto()


class ReadingPhase(Phase):
    """What happens to the bytes of a client."""

    WAITING = auto()
    READING = auto()
    UPGRADING = auto()  # they wait until the target has accepted or declined another protocol
    TUNNEL = auto()
    REFUSED = auto()  # they are of no interest, because of what came before them
    STOPPED = auto()  # they are of no interest


class ClientPhase(Phase):
    """Of a client's connection."""

    OPEN = auto()
    LAST_ANSWER = auto()
    CLOSING = auto()  # once what was written has been flushed
    RESETTING = auto()  # the same, with a reset
    CLOSED = auto()
    LOST = auto()


class TargetPhase(Phase):
    """Of a connection to a target. A target that closes it is believed only a little later: a request may still be sent."""

    IDLE = auto()
    BUSY = auto()
    IDLE_LOST = auto()
    BUSY_LOST = auto()
    CLOSED = auto()


class AnswerPhase(Phase):
    """How far a target's answer has been read."""

    HEAD = auto()
    INTERIM = auto()  # a head has ended that is not the answer's
    BODY = auto()
    BODY_UNTIL_CLOSE = auto()
    TUNNEL = auto()
    COMPLETE = auto()
    SURPLUS = auto()  # more came than the answer


class IllegalTransitionError(AssertionError):
    """A bug: no such transition is in the table."""


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
    """Maps the phases from which one may be entered to it: the look-up is the check, and costs no call."""

    def __init__(self, phase: P) -> None:
        super().__init__(
            (cast("P", current), phase) for current, following in TRANSITIONS.items() if phase in following
        )
        self._phase = phase

    def __missing__(self, current: P) -> P:
        raise IllegalTransitionError(f"{current} to {self._phase}")

"""The phases of what lives on a connection, with the transitions between them in one table.

Modules bind the members that they use to names of their own: access to a member of an Enum takes half a microsecond in Python 3.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import TypeVar


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


TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    RequestPhase.RECEIVING: frozenset({RequestPhase.RECEIVED}),
    RequestPhase.RECEIVED: frozenset({RequestPhase.SENT}),
    RequestPhase.SENT: frozenset(),
    ExchangePhase.QUEUED: frozenset({ExchangePhase.PENDING}),
    ExchangePhase.PENDING: frozenset({ExchangePhase.ANSWERING, ExchangePhase.TUNNEL, ExchangePhase.OVER}),
    ExchangePhase.ANSWERING: frozenset({ExchangePhase.OVER}),
    ExchangePhase.TUNNEL: frozenset({ExchangePhase.OVER}),
    ExchangePhase.OVER: frozenset(),
    ReadingPhase.WAITING: frozenset({ReadingPhase.READING, ReadingPhase.REFUSED, ReadingPhase.STOPPED}),
    ReadingPhase.READING: frozenset(
        {ReadingPhase.WAITING, ReadingPhase.UPGRADING, ReadingPhase.REFUSED, ReadingPhase.STOPPED}
    ),
    ReadingPhase.UPGRADING: frozenset({ReadingPhase.WAITING, ReadingPhase.TUNNEL, ReadingPhase.STOPPED}),
    ReadingPhase.TUNNEL: frozenset({ReadingPhase.STOPPED}),
    ReadingPhase.REFUSED: frozenset(),
    ReadingPhase.STOPPED: frozenset(),
    ClientPhase.OPEN: frozenset(
        {ClientPhase.LAST_ANSWER, ClientPhase.CLOSING, ClientPhase.RESETTING, ClientPhase.LOST}
    ),
    ClientPhase.LAST_ANSWER: frozenset({ClientPhase.CLOSING, ClientPhase.RESETTING, ClientPhase.LOST}),
    ClientPhase.CLOSING: frozenset({ClientPhase.CLOSED, ClientPhase.LOST}),
    ClientPhase.RESETTING: frozenset({ClientPhase.CLOSED, ClientPhase.LOST}),
    ClientPhase.CLOSED: frozenset({ClientPhase.LOST}),
    ClientPhase.LOST: frozenset(),
    TargetPhase.IDLE: frozenset({TargetPhase.BUSY, TargetPhase.IDLE_LOST, TargetPhase.CLOSED}),
    TargetPhase.BUSY: frozenset({TargetPhase.IDLE, TargetPhase.CLOSED}),
    TargetPhase.IDLE_LOST: frozenset({TargetPhase.BUSY_LOST, TargetPhase.CLOSED}),
    TargetPhase.BUSY_LOST: frozenset({TargetPhase.CLOSED}),
    TargetPhase.CLOSED: frozenset(),
    AnswerPhase.HEAD: frozenset(
        {
            AnswerPhase.INTERIM,
            AnswerPhase.BODY,
            AnswerPhase.BODY_UNTIL_CLOSE,
            AnswerPhase.TUNNEL,
            AnswerPhase.COMPLETE,
        }
    ),
    AnswerPhase.INTERIM: frozenset({AnswerPhase.HEAD}),
    AnswerPhase.BODY: frozenset({AnswerPhase.COMPLETE}),
    AnswerPhase.BODY_UNTIL_CLOSE: frozenset({AnswerPhase.COMPLETE}),
    AnswerPhase.TUNNEL: frozenset(),
    AnswerPhase.COMPLETE: frozenset({AnswerPhase.HEAD, AnswerPhase.SURPLUS}),
    AnswerPhase.SURPLUS: frozenset(),
}

P = TypeVar("P", bound=Phase)


def advance(current: P, following: P) -> P:
    """Return the phase that follows; raise IllegalTransitionError if it may not."""
    if following not in TRANSITIONS[current]:
        raise IllegalTransitionError(f"{current} to {following}")
    return following

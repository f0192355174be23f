"""Keeps count of the connections of a server: lets those go that do nothing when there is no room for more, and all at its end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

_IDLE_SECONDS = 0.25  # that a connection has at least before it may be taken for one that does nothing
_STALLED_SECONDS = 5.0
_AT_ONCE = 32


class ConnectionPhase(Enum):
    """What a connection does: it waits for the head of a request, its body arrives, or its answer is made and sent."""

    WAITING = "waiting"
    READING = "reading"
    ANSWERING = "answering"


_PATIENCE = {ConnectionPhase.WAITING: _IDLE_SECONDS, ConnectionPhase.READING: _STALLED_SECONDS}


@dataclass(kw_only=True)
class _State:
    phase: ConnectionPhase
    since: float


class Connections:
    """May be used from any thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._states: dict[socket.socket, _State] = {}

    def __len__(self) -> int:
        return len(self._states)

    def enter(self, connection: socket.socket, phase: ConnectionPhase) -> None:
        """Note what the connection does from now on, or that it still does it: something has come."""
        with self._changed:
            self._states[connection] = _State(phase=phase, since=self._clock())

    def remove(self, connection: socket.socket) -> None:
        with self._changed:
            self._states.pop(connection, None)
            self._changed.notify_all()

    def make_room(self, *, seconds: float) -> None:
        """Break off the connections that have done nothing for the longest time, and wait until one has ended.

        A client may lose a connection that it does not use at any time: https://www.rfc-editor.org/rfc/rfc9112#section-9.5
        """
        with self._changed:
            for connection in self._idle()[:_AT_ONCE]:
                del self._states[connection]
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes it
            self._changed.wait(seconds)

    def shut_down(self) -> None:
        """Break off every connection, whatever it does."""
        with self._changed:
            for connection in self._states:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _idle(self) -> list[socket.socket]:
        """Return the connections that do nothing: those first that wait for a request, and of these the oldest."""
        now = self._clock()
        idle = [
            (state.phase is not ConnectionPhase.WAITING, state.since, connection)
            for connection, state in self._states.items()
            if state.phase in _PATIENCE and now - state.since > _PATIENCE[state.phase]
        ]
        return [connection for _, _, connection in sorted(idle, key=lambda entry: entry[:2])]

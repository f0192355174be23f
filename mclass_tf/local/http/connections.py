"""Tracks the connections of a server: closes idle ones to make room, and all at shutdown."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

_IDLE_SECONDS = 0.25  # without a request, after which a connection counts as idle
_STALLED_SECONDS = 5.0  # without a byte of a body, likewise
_MOST_CLOSED_AT_ONCE = 32


class ConnectionPhase(Enum):
    """A connection waits for the head of a request, reads its body, or computes and sends the answer."""

    WAITING = "waiting"
    READING = "reading"
    ANSWERING = "answering"


_PATIENCE = {ConnectionPhase.WAITING: _IDLE_SECONDS, ConnectionPhase.READING: _STALLED_SECONDS}


@dataclass(kw_only=True)
class _State:
    phase: ConnectionPhase
    since: float


class Connections:
    """The open connections. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._states: dict[socket.socket, _State] = {}

    def __len__(self) -> int:
        return len(self._states)

    def enter(self, connection: socket.socket, phase: ConnectionPhase) -> None:
        """Record the phase of a connection, or activity in the same phase."""
        with self._changed:
            self._states[connection] = _State(phase=phase, since=self._clock())

    def remove(self, connection: socket.socket) -> None:
        with self._changed:
            self._states.pop(connection, None)
            self._changed.notify_all()

    def make_room(self, *, seconds: float) -> None:
        """Close the connections that have been idle the longest, and wait until one has ended.

        A server may close an unused connection at any time: https://www.rfc-editor.org/rfc/rfc9112#section-9.5
        """
        with self._changed:
            for connection in self._idle()[:_MOST_CLOSED_AT_ONCE]:
                del self._states[connection]
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # its thread reads the end and closes it
            self._changed.wait(seconds)

    def shut_down(self) -> None:
        """Shut every connection down, whatever its phase."""
        with self._changed:
            for connection in self._states:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _idle(self) -> list[socket.socket]:
        """Return the idle connections: first those that wait for a request, the oldest first."""
        now = self._clock()
        idle = [
            (state.phase is not ConnectionPhase.WAITING, state.since, connection)
            for connection, state in self._states.items()
            if state.phase in _PATIENCE and now - state.since > _PATIENCE[state.phase]
        ]
        return [connection for _, _, connection in sorted(idle, key=lambda entry: entry[:2])]

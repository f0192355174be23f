"""Sends a request to its target and streams the body."""

from __future__ import annotations

from mclass_tf.local.balancer.phases import RequestPhase, TransitionTo
from mclass_tf.local.balancer.protocols import PooledConnection

_RECEIVING, _RECEIVED, _SENT = RequestPhase.RECEIVING, RequestPhase.RECEIVED, RequestPhase.SENT
_TO_RECEIVED = TransitionTo(RequestPhase.RECEIVED)
_TO_SENT = TransitionTo(RequestPhase.SENT)


class RequestSender:
    """`waiting`: received bytes of the body that are not sent yet. `connection` is None before it is made and after `stop`."""

    __slots__ = ("_is_chunked", "_pieces", "connection", "phase", "waiting")

    def __init__(self, *, is_chunked: bool, is_received: bool) -> None:
        self.phase = _RECEIVED if is_received else _RECEIVING
        self.connection: PooledConnection | None = None
        self.waiting = 0
        self._is_chunked = is_chunked
        self._pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self.waiting += len(data)

    def end(self) -> None:
        """Mark the request as completely received."""
        self.phase = _TO_RECEIVED[self.phase]

    def start(self, connection: PooledConnection, head: bytes) -> None:
        self.connection = connection
        connection.write(head + self._take())

    def send(self) -> None:
        """Send buffered bytes, if connected."""
        if self.connection is not None and self.phase is not _SENT:
            data = self._take()
            if data:
                self.connection.write(data)

    def write(self, data: bytes) -> None:
        """Send bytes of the upgraded protocol."""
        if self.connection is not None:
            self.connection.write(data)

    def pause_answer(self) -> None:
        if self.connection is not None:
            self.connection.pause_reading()

    def resume_answer(self) -> None:
        if self.connection is not None:
            self.connection.resume_reading()

    def stop(self) -> PooledConnection | None:
        """Drop buffered bytes; return the connection, if any."""
        self._pieces.clear()
        self.waiting = 0
        connection, self.connection = self.connection, None
        return connection

    def _take(self) -> bytes:
        """Return the buffered bytes in the wire format for the target, with small chunks merged."""
        is_last = self.phase is _RECEIVED
        if is_last:
            self.phase = _TO_SENT[self.phase]
        body = b""
        if self._pieces:
            body = b"".join(self._pieces)
            self._pieces.clear()
            self.waiting = 0
        if not self._is_chunked:
            return body
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return chunk + b"0\r\n\r\n" if is_last else chunk

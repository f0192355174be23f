"""A client's connection: passes received bytes to the reader and writes answers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from time import monotonic
from typing import cast

from mclass_tf.local.balancer import headers
from mclass_tf.local.balancer.client.pipeline import Pipeline
from mclass_tf.local.balancer.client.reader import RequestReader
from mclass_tf.local.balancer.completed import ConnectionInfo
from mclass_tf.local.balancer.listener_state import ListenerState
from mclass_tf.local.balancer.phases import ClientPhase, ReadingPhase, TransitionTo

_LINGER = 2.0  # seconds for the client to read an error before the connection is closed
_OPEN, _LAST_ANSWER = ClientPhase.OPEN, ClientPhase.LAST_ANSWER
_CLOSING, _RESETTING = ClientPhase.CLOSING, ClientPhase.RESETTING
_LOST = ClientPhase.LOST
_TUNNEL = ReadingPhase.TUNNEL
_TO_CLOSED = TransitionTo(ClientPhase.CLOSED)
_TO_CLOSING = TransitionTo(ClientPhase.CLOSING)
_TO_LAST_ANSWER = TransitionTo(ClientPhase.LAST_ANSWER)
_TO_LOST = TransitionTo(ClientPhase.LOST)
_TO_RESETTING = TransitionTo(ClientPhase.RESETTING)


class ClientConnection(asyncio.BufferedProtocol):
    """Changes of rules and targets do not affect the connection: each request reads the listener's state again.

    `source` is the client's address in AWS. `forwarded`, `forwarded_for`: headers for targets, see `headers.py`.
    """

    def __init__(self, listener: ListenerState, *, source: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.listener = listener
        self.phase = _OPEN
        self.connection = cast("ConnectionInfo", None)
        self.forwarded = self.forwarded_for = b""
        self.touched = 0.0
        self.is_slow = False
        self.holds: set[str] = set()
        self.pipeline = Pipeline(self)
        self.reader = RequestReader(self, listener, self.pipeline)
        self._source = source
        self._opened = 0.0
        self._keep_alive = listener.settings.client_keep_alive  # fixed when the connection is made
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    # For the capacity and the listener

    @property
    def is_awaiting_client(self) -> bool:
        return self.pipeline.is_awaiting_client

    def disconnect(self) -> None:
        """Close immediately."""
        self.reader.stop()
        self._transport.abort()

    def listener_closed(self) -> None:
        """Close as soon as no request is under way."""
        if not self.pipeline.exchanges:
            self._transport.close()

    # For the exchange

    @property
    def closes(self) -> bool:
        return self.phase is not _OPEN

    def is_expired(self) -> bool:
        """Whether the connection is past its keep-alive duration. It then carries one more answer, with `Connection: close`.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html#http-client-keep-alive-duration
        """
        return monotonic() - self._opened >= self._keep_alive or self.listener.is_closed

    def send(self, data: bytes) -> None:
        self._out.append(data)

    def flush(self) -> None:
        out = self._out
        if out:
            if self.phase is not _LOST:
                data = b"".join(out)
                self.touched = monotonic()
                self.listener.counts().counts["ProcessedBytes"] += len(data)
                self._transport.write(data)
            out.clear()
        if self.phase is _CLOSING or self.phase is _RESETTING:
            self._close()

    def hold(self, reason: str) -> None:
        if not self.holds and not self._transport.is_closing():
            self._transport.pause_reading()
        self.holds.add(reason)

    def release(self, reason: str) -> None:
        if reason in self.holds:
            self.holds.discard(reason)
            if not self.holds and not self._transport.is_closing():
                self._transport.resume_reading()

    def close_after_answer(self) -> None:
        if self.phase is _OPEN:
            self.phase = _TO_LAST_ANSWER[self.phase]

    def reset_after_answer(self) -> None:
        if self.phase is _OPEN or self.phase is _LAST_ANSWER:
            self.phase = _TO_RESETTING[self.phase]

    def upgraded(self) -> None:
        self.reader.switch()
        self.release("upgrade")
        self.release("turn")

    def exchange_ended(self) -> None:
        if self.phase is _OPEN:
            if self.holds:
                self.release("target")
            self.reader.exchange_ended()
        elif self.phase is _LAST_ANSWER:
            self.phase = _TO_CLOSING[self.phase]

    # Callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = self.listener.settings
        self.connection = _connection_info(self.listener, transport, source=self._source)
        self.forwarded = headers.connection_headers(self.connection, settings=settings)
        self.forwarded_for = headers.client_address(self.connection, settings=settings)
        self._opened = self.touched = monotonic()
        if not self.listener.capacity.admit(self):
            self.listener.counts().counts["RejectedConnectionCount"] += 1
            self.disconnect()
            return
        self.listener.clients.add(self)
        self.listener.counts().counts["NewConnectionCount"] += 1
        self._timer = self.loop.call_later(settings.idle_timeout, self._check_idle)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self.listener.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self.listener.buffer[:nbytes])
        self.listener.counts().counts["ProcessedBytes"] += len(data)
        if self.reader.phase is _TUNNEL:
            self.touched = monotonic()
            self.pipeline.exchanges[0].sender.write(data)
        elif not self.reader.is_stopped:  # otherwise ignored, and no sign of activity
            self.touched = monotonic()
            self.reader.inbox.add(data)
            self.reader.read()
            self.flush()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.phase = _TO_LOST[self.phase]
        self.reader.stop()
        self.listener.clients.discard(self)
        self.listener.capacity.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        self.pipeline.client_disconnected()

    def pause_writing(self) -> None:
        self.is_slow = True
        if self.pipeline.exchanges:
            self.pipeline.exchanges[0].sender.pause_answer()

    def resume_writing(self) -> None:
        self.is_slow = False
        if self.pipeline.exchanges:
            self.pipeline.exchanges[0].sender.resume_answer()
        self.reader.resume()

    def _check_idle(self) -> None:
        timeout = self.listener.settings.idle_timeout
        left = self.touched + timeout - monotonic()
        self._timer = self.loop.call_later(left if left > 0 else timeout, self._check_idle)
        if left > 0:
            return
        if self._transport.is_closing():
            self._transport.abort()  # the client does not even read the end
            return
        if self.pipeline.exchanges:
            self.pipeline.exchanges[0].idle()
        elif self.reader.is_within_head:
            self.reader.refuse_partial(408)
        elif self.phase is _OPEN:
            self.phase = _TO_CLOSING[self.phase]
        self.flush()

    def _close(self) -> None:
        """Close after a flush. Linger so that the client reads an error before its own data causes a reset."""
        is_reset = self.phase is _RESETTING
        self.phase = _TO_CLOSED[self.phase]
        self.reader.stop()
        if is_reset:
            _reset(self._transport)
        elif self._transport.can_write_eof() and self.reader.needs_lingering_close:
            for reason in tuple(self.holds):
                self.release(reason)
            with contextlib.suppress(OSError):  # already disconnected, which the event loop reports next
                self._transport.write_eof()
            self.loop.call_later(_LINGER, self._transport.close)
        else:
            self._transport.close()


def _connection_info(
    listener: ListenerState, transport: asyncio.BaseTransport, *, source: str
) -> ConnectionInfo:
    _, port = (transport.get_extra_info("peername") or ("", 0))[:2]  # missing if the client is gone
    encryption = transport.get_extra_info("ssl_object")
    cipher = None if encryption is None else encryption.cipher()
    return ConnectionInfo(
        listener_arn=listener.arn,
        load_balancer_arn=listener.load_balancer_arn,
        protocol=listener.protocol,
        port=listener.port,
        client_ip=source,
        client_port=port,
        cipher="-" if cipher is None else cipher[0],
        tls_version="-" if encryption is None else encryption.version(),
        trace_id=secrets.token_hex(16),
    )


def _reset(transport: asyncio.Transport) -> None:
    """Close with a reset. An HTTP/1.0 client would take an ordinary end for the end of the body."""
    connected = transport.get_extra_info("socket")
    if connected is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()

"""A connection to a target: carries one request after another, and waits in the target's pool in between."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic
from typing import cast

from mclass_tf.local.balancer.groups import TargetState
from mclass_tf.local.balancer.messages.target_answer import MalformedAnswerError
from mclass_tf.local.balancer.phases import TargetPhase, TransitionTo
from mclass_tf.local.balancer.protocols import AnswerReceiver
from mclass_tf.local.balancer.settings import CONNECT_TIMEOUT
from mclass_tf.local.balancer.target.answer_parser import AnswerParser

_FIN_DELAY = 0.001  # seconds that a FIN takes between two availability zones
_AT_ONCE, _SHORT_IDLE, _LONG_IDLE = 0.02, 0.02, 0.5  # seconds
_IDLE, _BUSY = TargetPhase.IDLE, TargetPhase.BUSY
_IDLE_LOST, _BUSY_LOST, _CLOSED = TargetPhase.IDLE_LOST, TargetPhase.BUSY_LOST, TargetPhase.CLOSED
_TO_BUSY = TransitionTo(TargetPhase.BUSY)
_TO_BUSY_LOST = TransitionTo(TargetPhase.BUSY_LOST)
_TO_CLOSED = TransitionTo(TargetPhase.CLOSED)
_TO_IDLE = TransitionTo(TargetPhase.IDLE)
_TO_IDLE_LOST = TransitionTo(TargetPhase.IDLE_LOST)


async def connect(target: TargetState, *, idle_timeout: float) -> TargetConnection:
    """Return a new connection. Raise OSError if the connection fails, TimeoutError if nobody answers.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-504-issues
    """
    async with asyncio.timeout(CONNECT_TIMEOUT):
        if target.address is None:  # packets get no answer, not even a refusal
            await asyncio.Event().wait()
        address = cast("tuple[str, int]", target.address)
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: TargetConnection(target, idle_timeout=idle_timeout), *address, ssl=target.group.tls
        )
        return connection


class TargetConnection(asyncio.Protocol):
    """`exchange` is the one that the connection carries; None: the connection is idle.

    When a target closes an idle connection, the load balancer notices only after a delay: in AWS, the FIN travels as long as
    a packet takes, and a request that is sent meanwhile is lost with a 502. So a target's keep-alive must outlast the load
    balancer's idle timeout. The load balancer does not retry:
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html#connection-idle-timeout
    """

    def __init__(self, target: TargetState, *, idle_timeout: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.target = target
        self.exchange: AnswerReceiver | None = None
        self.phase = _IDLE
        self.started = 0.0
        self._idle_timeout = idle_timeout
        self._idle_since: float | None = None  # of the event loop's clock; None: it never carried a request
        self._idle_seconds = 0.0  # before the current request
        self._has_answered = False  # whether a part of the current answer has come
        self._is_unread = False  # whether the target had closed the connection when the current request came
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = AnswerParser()

    # For the exchange

    def start(self, exchange: AnswerReceiver) -> None:
        self.exchange = exchange
        self.started = monotonic()
        self._parser.start(exchange)
        self._has_answered = self._is_unread = False
        if self._idle_since is not None:
            self._idle_seconds = self.loop.time() - self._idle_since
        if self.phase is _IDLE_LOST:
            self.phase = _TO_BUSY_LOST[self.phase]
            self.loop.call_soon(self.connection_lost, ConnectionResetError())
        else:
            self.phase = _TO_BUSY[self.phase]

    def write(self, data: bytes) -> None:
        if self.phase is not _BUSY_LOST:
            self._transport.write(data)

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close immediately. The exchange gets no more of its answer."""
        self._end()
        self._transport.abort()

    # Callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self._discard()  # unsolicited data
            return
        client = exchange.client
        client.touched = monotonic()
        self._has_answered = True
        try:
            is_complete = self._parser.feed(data)
        except MalformedAnswerError:
            self.close()
            exchange.answer_lost("malformed_response")
        else:
            if is_complete:
                self._finish(exchange)
        client.flush()

    def eof_received(self) -> None:
        """Note whether the FIN was sent before the request came: then the target's system has already reset the connection."""
        connected = self._transport.get_extra_info("socket")
        if connected is not None:
            self._is_unread = bool(connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def connection_lost(self, error: Exception | None) -> None:
        exchange = self.exchange
        if exchange is None:
            if self.phase is _IDLE:
                self.phase = _TO_IDLE_LOST[self.phase]
                self.loop.call_later(_FIN_DELAY, self._discard)
            return
        reason = self._reason(exchange, error)
        self._end()
        if self._parser.ends_with_connection and error is None:
            exchange.answer_ended()
        else:
            exchange.answer_lost(reason)
        exchange.client.flush()

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.client.hold("target")

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.client.release("target")

    def _end(self) -> None:
        self.exchange = self._parser.receiver = None
        if self.phase is not _CLOSED:
            self.phase = _TO_CLOSED[self.phase]
        if self._timer is not None:
            self._timer.cancel()

    def _reason(self, exchange: AnswerReceiver, error: Exception | None) -> str:
        """Return why the answer is lost.

        The target's keep-alive had expired if it never read the request, which its system answers with a reset, after an idle
        time. A target that closes after it has read the request causes none, unless the rest of a body follows.
        """
        if self._has_answered:
            return "answer_cut_off"
        if self.phase is _BUSY_LOST:
            return "closed_while_idle"
        is_unread = self._is_unread or isinstance(error, ConnectionError)
        if not is_unread or self._idle_seconds < _SHORT_IDLE:
            return "closed_in_flight"
        has_body = exchange.request.has_body
        is_late = has_body and monotonic() - self.started > _AT_ONCE
        least = _SHORT_IDLE if self._is_unread and not has_body else _LONG_IDLE
        return "closed_while_idle" if self._idle_seconds > least and not is_late else "closed_in_flight"

    def _finish(self, exchange: AnswerReceiver) -> None:
        """Handle the end of the answer: return to the pool if the target allows it and sent no surplus."""
        self.exchange = None
        if self._parser.finish() and self.phase is _BUSY and exchange.may_keep_connection:
            self.phase = _TO_IDLE[self.phase]
            self._return_to_pool()
        else:
            self.close()
        exchange.answer_ended()

    def _return_to_pool(self) -> None:
        target = self.target
        if target.is_gone or target.is_draining:
            self.close()
            return
        self.resume_reading()  # a slow client may have paused it
        self._idle_since = self.loop.time()
        target.idle.append(self)
        if self._timer is None:
            self._timer = self.loop.call_later(self._idle_timeout, self._check_idle)

    def _check_idle(self) -> None:
        self._timer = None
        now = self.loop.time()
        left = (now if self._idle_since is None else self._idle_since) + self._idle_timeout - now
        if self.exchange is None and left <= 0:
            self._discard()
        else:
            wait = self._idle_timeout if self.exchange is not None else left
            self._timer = self.loop.call_later(max(wait, 0.001), self._check_idle)

    def _discard(self) -> None:
        """Leave the pool and close, unless the connection carries a request."""
        if self.exchange is not None or self.phase is _CLOSED:
            return
        if self in self.target.idle:
            self.target.idle.remove(self)
        self.close()

"""Reads a client's requests one after another, even if they arrive all at once."""

from __future__ import annotations

import asyncio

from mclass_tf.local.balancer.client.inbox import Inbox
from mclass_tf.local.balancer.client.pipeline import Pipeline
from mclass_tf.local.balancer.client.request_parser import RequestParser
from mclass_tf.local.balancer.exchange import Exchange
from mclass_tf.local.balancer.listener_state import ListenerState
from mclass_tf.local.balancer.messages.desync import Desync
from mclass_tf.local.balancer.messages.head import RequestRefusedError
from mclass_tf.local.balancer.messages.request import ClientRequest
from mclass_tf.local.balancer.phases import ExchangePhase, ReadingPhase, TransitionTo
from mclass_tf.local.balancer.protocols import ExchangeClient

_AT_ONCE = range(64)  # pieces of one client per turn of the event loop
_PIECE = 64 * 1024  # bytes of a chunked body
_NON_COMPLIANT = "DesyncMitigationMode_NonCompliant_Request_Count"
_OVER = ExchangePhase.OVER
_WAITING, _READING, _UPGRADING = ReadingPhase.WAITING, ReadingPhase.READING, ReadingPhase.UPGRADING
_REFUSED, _STOPPED = ReadingPhase.REFUSED, ReadingPhase.STOPPED
_TO_READING = TransitionTo(ReadingPhase.READING)
_TO_REFUSED = TransitionTo(ReadingPhase.REFUSED)
_TO_STOPPED = TransitionTo(ReadingPhase.STOPPED)
_TO_TUNNEL = TransitionTo(ReadingPhase.TUNNEL)
_TO_UPGRADING = TransitionTo(ReadingPhase.UPGRADING)
_TO_WAITING = TransitionTo(ReadingPhase.WAITING)


class RequestReader:
    """Reads at most one request ahead of the one being answered. The rest stays in the inbox."""

    def __init__(self, client: ExchangeClient, listener: ListenerState, pipeline: Pipeline) -> None:
        self.phase = _WAITING
        self.inbox = Inbox()
        self._client = client
        self._listener = listener
        self._pipeline = pipeline
        self._parser = RequestParser(self)

    @property
    def is_within_head(self) -> bool:
        return self._parser.is_within_head

    @property
    def is_stopped(self) -> bool:
        """Whether further bytes are ignored."""
        return self.phase is _STOPPED or self.phase is _REFUSED

    @property
    def needs_lingering_close(self) -> bool:
        """Whether the client may still be sending. Then an immediate close would cause a reset and lose the answer."""
        return self.phase is _REFUSED or self._pipeline.receiving is not None

    # For the client's connection

    def stop(self) -> None:
        if not self.is_stopped:
            self.phase = _TO_STOPPED[self.phase]
        self.inbox.take_all()

    def read(self) -> None:
        """Read requests from the inbox, as far as they may be read ahead.

        This is a bounded loop instead of recursion: a client may send thousands at once, and others need their turn.
        """
        if self.phase is _READING:
            return
        inbox, pipeline = self.inbox, self._pipeline
        if self.phase is _WAITING and inbox.data:
            self.phase = _TO_READING[self.phase]
        for _ in _AT_ONCE:
            if not inbox.data or not self._may_read():
                break
            self._parse(self._take_piece())
        if self.phase is _READING:
            self.phase = _TO_WAITING[self.phase]
        if pipeline.exchanges:
            pipeline.exchanges[0].sender.send()
        if inbox.data:
            self._postpone()
        if inbox.data or len(pipeline.exchanges) > 1:
            self._client.hold("turn")
        elif self._client.holds:
            self._client.release("turn")

    def resume(self) -> None:
        self.read()
        self._client.flush()

    def exchange_ended(self) -> None:
        pipeline = self._pipeline
        pipeline.advance()
        if self.phase is _UPGRADING:
            if not pipeline.exchanges:
                asyncio.get_running_loop().call_soon(self._continue_with_http)
        elif self.inbox.data or self._client.holds:
            self.read()

    def switch(self) -> None:
        if self.phase is _UPGRADING:  # otherwise the client is being disconnected
            self.phase = _TO_TUNNEL[self.phase]
        early = self.inbox.take_all()
        if early:
            self._pipeline.exchanges[0].sender.write(early)

    def refuse_partial(self, status: int) -> None:
        """Refuse a request with an incomplete head."""
        request = self._parser.take_partial()
        request.keeps_alive = False
        self.stop()
        self._pipeline.exchanges.append(Exchange(self._client, self._listener, request, refusal=status))
        self._pipeline.advance()

    # Callbacks of the parser

    def head_received(self, request: ClientRequest) -> None:
        if request.desync is not None:
            self._mitigate(request, request.desync)
        pipeline = self._pipeline
        pipeline.receiving = Exchange(self._client, self._listener, request)
        pipeline.exchanges.append(pipeline.receiving)
        if request.has_body:  # otherwise `request_received` follows immediately
            pipeline.advance()

    def body_received(self, data: bytes) -> None:
        if self._pipeline.receiving is not None:
            self._pipeline.receiving.request_body(data)

    def request_received(self) -> None:
        pipeline = self._pipeline
        exchange, pipeline.receiving = pipeline.receiving, None
        if exchange is not None:
            exchange.sender.end()
            if not (exchange.request.keeps_alive or exchange.request.has_upgrade):
                self.stop()
            pipeline.advance()

    def _mitigate(self, request: ClientRequest, desync: Desync) -> None:
        """Apply the desync mitigation mode: refuse the request, or let no other request follow on its connections.

        In no mode does a request of the class "Severe" come here: its body has no certain end, so it cannot be forwarded as one
        request. AWS forwards it in the mode "monitor".
        """
        mode = self._listener.settings.desync_mode
        self._listener.counts().counts[_NON_COMPLIANT] += 1
        if mode == "strictest":
            raise RequestRefusedError(400)
        if desync.is_ambiguous and mode == "defensive":
            request.keeps_alive = request.keeps_target = False

    def _postpone(self) -> None:
        """Drop unread bytes after a stop, or schedule another read if one is allowed."""
        if self.is_stopped:
            self.inbox.take_all()
        elif self._may_read():
            asyncio.get_running_loop().call_soon(self.resume)

    def _may_read(self) -> bool:
        """Whether another piece may be read ahead."""
        if self.phase is not _READING and self.phase is not _WAITING:
            return False
        if self._pipeline.receiving is not None:
            return True
        client = self._client
        return len(self._pipeline.exchanges) <= 1 and not client.is_slow and not client.closes

    def _take_piece(self) -> bytes | memoryview:
        """Return the next bytes for the parser: up to the end of a head or of a body."""
        receiving, last = self._pipeline.receiving, self._parser.last_bytes
        if receiving is None:
            return self.inbox.take_block(last)
        length = receiving.request.length
        if length is None:
            return self.inbox.take_block(last, most=_PIECE)
        return self.inbox.take(length - receiving.record.received)

    def _parse(self, piece: bytes | memoryview) -> None:
        try:
            is_upgrade = self._parser.feed(piece)
        except RequestRefusedError as error:
            if error.desync is not None:
                self._listener.counts().counts[_NON_COMPLIANT] += 1
            self._refuse(error.status)
            return
        if is_upgrade and not self.is_stopped:
            self._await_upgrade()

    def _await_upgrade(self) -> None:
        """Prepare for the bytes after an upgrade request: the other protocol, or the next request if the upgrade is ignored."""
        exchange = self._pipeline.exchanges[-1] if self._pipeline.exchanges else None
        if exchange is None:
            return
        if exchange.request.is_websocket and exchange.phase is not _OVER:
            self.phase = _TO_UPGRADING[self.phase]
            self._client.hold("upgrade")  # a target that does not switch would take it for another request
        elif not exchange.request.keeps_alive:
            self.stop()

    def _continue_with_http(self) -> None:
        """Read the buffered bytes as requests, because the target did not switch."""
        if self.phase is _UPGRADING:
            self.phase = _TO_WAITING[self.phase]
        self._client.release("upgrade")
        self.resume()

    def _refuse(self, status: int) -> None:
        pipeline = self._pipeline
        is_last = bool(pipeline.exchanges) and not pipeline.exchanges[-1].request.keeps_alive
        if self.is_stopped or self._client.closes or is_last:
            self.stop()  # bytes after "Connection: close" are ignored
            return
        self.phase = _TO_REFUSED[self.phase]
        exchange, pipeline.receiving = pipeline.receiving, None
        if exchange is not None:
            exchange.refuse(status)
        else:
            self.refuse_partial(status)

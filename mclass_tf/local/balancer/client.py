"""A client's connection: reads requests, one after the other also when they come all at once, and writes the answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import struct
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, cast

import httptools

from mclass_tf.local.balancer.desync import Desync
from mclass_tf.local.balancer.exchange import Exchange
from mclass_tf.local.balancer.groups import Group
from mclass_tf.local.balancer.limits import REQUEST_SILENCE
from mclass_tf.local.balancer.request import RefusedError, Request
from mclass_tf.local.balancer.settings import BalancerSettings
from mclass_tf.local.balancer.telemetry import Counts, Telemetry

if TYPE_CHECKING:
    from mclass_tf.local.balancer.listener import Listener

_log = logging.getLogger(__name__)
_LINGER = 2.0  # seconds for the client to read an error before the connection is closed
_AT_ONCE = range(64)  # pieces that are read of one client before it is the others' turn
_PIECE = 1024  # bytes of a chunked body: there may be the heads of as many requests behind it as fit
_HEAD_END = b"\r\n\r\n"


class ClientConnection(asyncio.BufferedProtocol):
    """Changes of rules and targets do not touch it: every request asks its listener anew.

    `closes`: the answer under way is the last one. `is_broken`: what was sent is not whole, and must not look so.
    """

    def __init__(self, listener: Listener) -> None:
        self.loop = asyncio.get_running_loop()
        self.listener = listener
        self.telemetry: Telemetry = listener.telemetry
        self.source, self.source_port = "", 0
        self.forwarded = self.forwarded_for = b""
        self.touched = 0.0
        self.closes = self.is_broken = self.is_slow = False
        self._opened = 0.0
        self._keep_alive = listener.settings.client_keep_alive  # as it was when the connection was made
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        self._receiving: Exchange | None = None
        self._exchanges: deque[Exchange] = deque()
        self._out: list[bytes] = []
        self._holds: set[str] = set()
        self._inbox, self._read_to = b"", 0  # what has come, and how much of it was read
        self._was_heard, self._unheard = False, 0  # bytes since the client got anywhere with its request
        self._is_reading = False
        self._is_deaf = self._is_lost = self._is_closing = self._is_advancing = self._lingers = False
        self._trace_id = ""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def settings(self) -> BalancerSettings:
        return self.listener.settings

    @property
    def trace_id(self) -> str:
        """Return the identifier of the connection in the logs."""
        if not self._trace_id:
            self._trace_id = secrets.token_hex(16)
        return self._trace_id

    def encryption(self) -> tuple[str, str]:
        """Return cipher and version of TLS, as the access log has them."""
        found = self._transport.get_extra_info("ssl_object")
        if found is None:
            return "-", "-"
        return found.cipher()[0], found.version()

    def counts(self, group: Group | None) -> Counts:
        return self.telemetry.of(self.listener.load_balancer_arn, None if group is None else group.arn)

    def count_request(self, group: Group) -> None:
        """Count a request that goes to a target of the group."""
        counts = self.counts(group)
        counts.counts["RequestCount"] += 1
        counts.by_listener[self.listener.arn] += 1

    def is_too_old(self) -> bool:
        """Whether its time is over: it then carries one more answer, which says so.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html#http-client-keep-alive-duration
        """
        return monotonic() - self._opened >= self._keep_alive or self.listener.is_closed

    # What the capacity asks of it

    @property
    def is_waited_for(self) -> bool:
        """Whether it is the client's turn: to send a request, or the rest of one, or to be gone."""
        exchanges = self._exchanges
        return not exchanges or exchanges[0].is_over or not exchanges[-1].request_is_whole

    def disconnect(self) -> None:
        """Let go of it at once."""
        self._is_deaf = True
        self._transport.abort()

    # What the exchange asks of it

    def send(self, data: bytes) -> None:
        self._out.append(data)

    def flush(self) -> None:
        out = self._out
        if out:
            if not self._is_lost:
                data = b"".join(out)
                self.touched = monotonic()
                self.counts(None).counts["ProcessedBytes"] += len(data)
                self._transport.write(data)
            out.clear()
        if self._is_closing:
            self._close()

    def hold(self, reason: str) -> None:
        """Read no more until the reason is gone."""
        if not self._holds and not self._transport.is_closing():
            self._transport.pause_reading()
        self._holds.add(reason)

    def release(self, reason: str) -> None:
        if reason in self._holds:
            self._holds.discard(reason)
            if not self._holds and not self._transport.is_closing():
                self._transport.resume_reading()

    def upgraded(self) -> None:
        """From now on bytes are passed on as they are."""
        early = self._take_rest()
        self.release("upgrade")
        self.release("turn")
        if early:
            self._exchanges[0].tunnel(early)

    def ended(self, exchange: Exchange) -> None:
        """The exchange is over: the next request's turn, if there is one."""
        self.listener.finished(self, exchange)
        if self.closes:
            self._is_closing = True
            return
        self.release("target")
        self._advance()
        if "upgrade" in self._holds:
            self.loop.call_soon(self._go_on_with_http)
        elif self._inbox or self._holds:
            self._read_on()

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername") or ("", 0)  # it may be gone already
        self.source, self.source_port = peer[0], peer[1]
        self.forwarded = self.listener.forwarded_lines(transport.get_extra_info("ssl_object"))
        with_port = self.settings.forwards_client_port
        self.forwarded_for = (f"{self.source}:{self.source_port}" if with_port else self.source).encode()
        self._opened = self.touched = monotonic()
        if not self.listener.capacity.admit(self):
            self.counts(None).counts["RejectedConnectionCount"] += 1
            self.disconnect()
            return
        self.listener.clients.add(self)
        self.counts(None).counts["NewConnectionCount"] += 1
        self._timer = self.loop.call_later(self.settings.idle_timeout, self._check_idle)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self.listener.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self.listener.buffer[:nbytes])
        self.counts(None).counts["ProcessedBytes"] += len(data)
        exchange = self._exchanges[0] if self._exchanges else None
        if exchange is not None and exchange.is_tunnel:
            self.touched = monotonic()
            exchange.tunnel(data)
        elif not self._is_deaf:  # else it is of no interest, and keeps nothing alive
            self.touched = monotonic()
            self._inbox = self._take_rest() + data if self._inbox else data
            self._read_on()
            self.flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._is_lost = self._is_deaf = True
        self._take_rest()
        self.listener.clients.discard(self)
        self.listener.capacity.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        exchanges, self._exchanges = self._exchanges, deque()
        for exchange in exchanges:
            exchange.client_gone()

    def pause_writing(self) -> None:
        self.is_slow = True
        if self._exchanges:
            self._exchanges[0].client_is_slow()

    def resume_writing(self) -> None:
        self.is_slow = False
        if self._exchanges:
            self._exchanges[0].client_keeps_up()
        self._go_on()

    def listener_closed(self) -> None:
        """Finish what is under way, then close."""
        if not self._exchanges:
            self._transport.close()

    # What the parser tells

    def on_message_begin(self) -> None:
        self._request = Request(received_at=self.listener.time(), started=self.touched)

    def on_url(self, part: bytes) -> None:
        assert self._request is not None  # noqa: S101
        self._request.add_target(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request is not None:  # else it is a trailer, which is not passed on
            self._request.add_header(name, value)

    def on_headers_complete(self) -> None:
        request, parser = self._request, self._parser
        assert request is not None  # noqa: S101
        request.complete(
            method=parser.get_method(),
            version=parser.get_http_version(),
            keeps_alive=parser.should_keep_alive(),
            has_upgrade=parser.should_upgrade(),
        )
        if request.desync is not None:
            self._mitigate(request, request.desync)
        self._request = None
        self._enqueue(Exchange(self, request))

    def on_body(self, data: bytes) -> None:
        self._was_heard = True
        if self._receiving is not None:
            self._receiving.request_body(data)

    def on_message_complete(self) -> None:
        exchange, self._receiving = self._receiving, None
        self._was_heard = True
        if exchange is not None:
            exchange.request_ended()
            if not (exchange.request.keeps_alive or exchange.request.has_upgrade):
                self._is_deaf = True
            self._advance()

    # Its own business

    def _mitigate(self, request: Request, desync: Desync) -> None:
        """Refuse what AWS refuses in the mode that is set, and leave no connection behind on which others would suffer."""
        self.counts(None).counts["DesyncMitigationMode_NonCompliant_Request_Count"] += 1
        if self.settings.desync_mode == "strictest":
            raise RefusedError(400)
        if desync.is_ambiguous and self.settings.desync_mode == "defensive":
            request.keeps_alive = request.keeps_target = False

    def _take_rest(self) -> bytes:
        """Return what has come and was not read."""
        rest = self._inbox[self._read_to :] if self._read_to else self._inbox
        self._inbox, self._read_to = b"", 0
        return rest

    def _read_on(self) -> None:
        """Read as many requests as may wait: one more than is being answered. The rest waits as it came.

        A loop and no recursion, and not for ever: a client may send thousands at once, and others want their turn.
        """
        if self._is_reading:
            return
        self._is_reading = True
        for _ in _AT_ONCE:
            if not self._inbox or not self._may_read():
                break
            self._parse(self._take_piece())
        self._is_reading = False
        if self._exchanges:
            self._exchanges[0].forward_body()
        if self._inbox:
            self._put_off()
        if self._inbox or len(self._exchanges) > 1:
            self.hold("turn")
        elif self._holds:
            self.release("turn")

    def _put_off(self) -> None:
        """Something was not read: it never will be, or later."""
        if self._is_deaf:
            self._take_rest()
        elif self._may_read():
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._read_on()
        self.flush()

    def _may_read(self) -> bool:
        """Whether there is room for what the next piece will lead to."""
        if self._is_deaf or "upgrade" in self._holds:
            return False
        if self._receiving is not None:
            return True
        return len(self._exchanges) <= 1 and not self.is_slow and not self.closes

    def _take_piece(self) -> bytes | memoryview:
        """Return what the parser gets next: up to the end of a head, or within a body."""
        inbox, start, receiving = self._inbox, self._read_to, self._receiving
        if receiving is not None:
            length = receiving.request.length
            end = start + (_PIECE if length is None else length - receiving.received)
        else:
            found = inbox.find(_HEAD_END, start)
            end = len(inbox) if found < 0 else found + len(_HEAD_END)
        if end >= len(inbox):
            self._inbox, self._read_to = b"", 0
            return memoryview(inbox)[start:] if start else inbox
        self._read_to = end
        return memoryview(inbox)[start:end]

    def _parse(self, piece: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._is_deaf:
                self._after_upgrade(bytes(piece[upgrade.args[0] :]))
        except httptools.HttpParserError as error:
            self._refuse(self._status(error))
        else:
            if self._was_heard:
                self._was_heard, self._unheard = False, 0
                return
            self._unheard += len(piece)
            if self._unheard > REQUEST_SILENCE:
                self._refuse(400)

    def _after_upgrade(self, rest: bytes) -> None:
        """What follows a request to upgrade: the other protocol's, or the next request where it was ignored."""
        if rest:
            self._inbox = rest + self._take_rest()
        exchange = self._exchanges[-1] if self._exchanges else None
        if exchange is None:
            return
        if exchange.request.is_websocket and not exchange.is_over:
            self.hold("upgrade")  # a target that does not switch would take it for another request
        elif not exchange.request.keeps_alive:
            self._is_deaf = True

    def _go_on_with_http(self) -> None:
        """The target did not switch: what came meanwhile are requests."""
        self.release("upgrade")
        self._go_on()

    def _status(self, error: httptools.HttpParserError) -> int:
        """Return the status that tells the client: 400 for what is not HTTP/1; who speaks HTTP/2 at once is told so."""
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else None
        if isinstance(cause, RefusedError):
            return cause.status
        if cause is not None:
            _log.error("a request failed", exc_info=cause)
            return 500
        return 505 if "PRI" in str(error) else 400

    def _refuse(self, status: int) -> None:
        if self._is_deaf or self.closes or (self._exchanges and not self._exchanges[-1].request.keeps_alive):
            self._is_deaf = True  # what comes after "Connection: close" is of no interest
            return
        self._is_deaf = self._lingers = True
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.refuse(status)
        else:
            self._answer_unread(status)

    def _answer_unread(self, status: int) -> None:
        """Answer a request that was not read to the end of its head."""
        request = self._request or Request(received_at=self.listener.time(), started=self.touched)
        request.keeps_alive = False
        self._request, self._is_deaf = None, True
        self._exchanges.append(Exchange(self, request, refusal=status))
        self._advance()

    def _enqueue(self, exchange: Exchange) -> None:
        self._receiving = exchange
        self._exchanges.append(exchange)
        self._advance()

    def _advance(self) -> None:
        """Begin requests in their order, each when the answer before it has ended.

        A loop and no recursion: a client may send thousands at once.
        """
        if self._is_advancing:
            return
        self._is_advancing = True
        while self._exchanges and not self.closes:
            first = self._exchanges[0]
            if first.is_over and first.request_is_whole:
                self._exchanges.popleft()
            elif first.is_begun or not first.may_begin:
                break
            else:
                first.begin()
        self._is_advancing = False

    def _check_idle(self) -> None:
        timeout = self.settings.idle_timeout
        left = self.touched + timeout - monotonic()
        self._timer = self.loop.call_later(left if left > 0 else timeout, self._check_idle)
        if left > 0:
            return
        if self._transport.is_closing():
            self._transport.abort()  # it does not even take the end
            return
        if self._exchanges:
            self._exchanges[0].idle()
        elif self._request is not None:
            self._answer_unread(408)
        else:
            self._is_closing = True
        self.flush()

    def _close(self) -> None:
        """Close after what was written has gone out; lets the client read an error before its data is refused."""
        if self._is_lost:
            return
        self._is_closing = False
        self._is_deaf = True
        self._take_rest()
        if self.is_broken:
            _reset(self._transport)
        elif self._transport.can_write_eof() and (self._lingers or self._receiving is not None):
            for reason in tuple(self._holds):
                self.release(reason)
            with contextlib.suppress(OSError):  # the client is gone already, which will be told next
                self._transport.write_eof()
            self.loop.call_later(_LINGER, self._transport.close)
        else:
            self._transport.close()


def _reset(transport: asyncio.Transport) -> None:
    """Close with a reset: to a client of HTTP/1.0 an ordinary end would look like the end of the body."""
    made = transport.get_extra_info("socket")
    if made is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()

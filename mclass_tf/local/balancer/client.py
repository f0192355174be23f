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

from mclass_tf.local.balancer.exchange import Exchange
from mclass_tf.local.balancer.groups import Group
from mclass_tf.local.balancer.request import RefusedError, Request
from mclass_tf.local.balancer.settings import BalancerSettings
from mclass_tf.local.balancer.telemetry import Counts, Telemetry

if TYPE_CHECKING:
    from mclass_tf.local.balancer.listener import Listener

_log = logging.getLogger(__name__)
_LINGER = 2.0  # seconds for the client to read an error before the connection is closed


class ClientConnection(asyncio.Protocol):
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
        self._early = b""  # what a client sent behind a request to upgrade, before it was granted
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
        early, self._early = self._early, b""
        self.release("upgrade")
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

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername") or ("", 0)  # it may be gone already
        self.source, self.source_port = peer[0], peer[1]
        self.forwarded = self.listener.forwarded_lines(transport.get_extra_info("ssl_object"))
        with_port = self.settings.forwards_client_port
        self.forwarded_for = (f"{self.source}:{self.source_port}" if with_port else self.source).encode()
        self._opened = self.touched = monotonic()
        self.listener.clients.add(self)
        self.counts(None).counts["NewConnectionCount"] += 1
        self._timer = self.loop.call_later(self.settings.idle_timeout, self._check_idle)

    def data_received(self, data: bytes) -> None:
        self.touched = monotonic()
        self.counts(None).counts["ProcessedBytes"] += len(data)
        if self._is_deaf:
            return
        exchange = self._exchanges[0] if self._exchanges else None
        if exchange is not None and exchange.is_tunnel:
            exchange.tunnel(data)
            return
        self._parse(data)
        if self._exchanges:
            self._exchanges[0].forward_body()
        if len(self._exchanges) > 1:
            self.hold("turn")
        self.flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._is_lost = True
        self.listener.clients.discard(self)
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
        self._request = None
        self._enqueue(Exchange(self, request))

    def on_body(self, data: bytes) -> None:
        if self._receiving is not None:
            self._receiving.request_body(data)

    def on_message_complete(self) -> None:
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.request_ended()
            self._advance()

    # Its own business

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self._refuse(error)
            return
        else:
            return
        if not self._is_deaf:
            self._after_upgrade(rest)

    def _after_upgrade(self, rest: bytes) -> None:
        """What follows a request to upgrade: the other protocol's, or the next request where it was ignored."""
        exchange = self._exchanges[-1] if self._exchanges else None
        if exchange is not None and exchange.request.is_websocket and not exchange.is_over:
            self._early = rest  # a target that does not switch would take it for another request
            self.hold("upgrade")
        elif rest:
            self._parse(rest)

    def _go_on_with_http(self) -> None:
        """The target did not switch: what came meanwhile are requests."""
        early, self._early = self._early, b""
        self.release("upgrade")
        if early:
            self.data_received(early)

    def _refuse(self, error: httptools.HttpParserError) -> None:
        if self._is_deaf or self.closes or (self._exchanges and not self._exchanges[-1].request.keeps_alive):
            self._is_deaf = True  # what comes after "Connection: close" is of no interest
            return
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else None
        status = cause.status if isinstance(cause, RefusedError) else _status(error)
        if cause is not None and not isinstance(cause, RefusedError):
            _log.error("a request failed", exc_info=cause)
            status = 500
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
        if len(self._exchanges) <= 1:
            self.release("turn")

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


def _status(error: httptools.HttpParserError) -> int:
    """400 for what is not HTTP/1; a client that speaks HTTP/2 at once is told so."""
    return 505 if "PRI" in str(error) else 400


def _reset(transport: asyncio.Transport) -> None:
    """Close with a reset: to a client of HTTP/1.0 an ordinary end would look like the end of the body."""
    made = transport.get_extra_info("socket")
    if made is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()

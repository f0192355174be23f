"""A connection to a target: sends one request after the other, reads the answers, waits in the target's pool in between."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast

import httptools

from mclass_tf.local.balancer.limits import ANSWER_HEAD, ANSWER_SILENCE, HEADERS

if TYPE_CHECKING:
    from mclass_tf.local.balancer.exchange import Exchange
    from mclass_tf.local.balancer.groups import TargetState

_NEWS = 0.001  # seconds that the news of a closed connection takes between two availability zones
_BODILESS = frozenset((204, 304))
_SWITCHING = 101
_LOWEST, _HIGHEST = 100, 599  # https://www.rfc-editor.org/rfc/rfc9110#section-15
_VERSIONS = frozenset(("1.0", "1.1"))
_REASON = re.compile(rb"[\t -~\x80-\xff]*")  # https://www.rfc-editor.org/rfc/rfc9112#section-4


class Answer:
    """The head of a target's answer."""

    __slots__ = (
        "connection",
        "content_length",
        "has_body",
        "headers",
        "is_chunked",
        "reason",
        "size",
        "status",
        "version",
    )

    def __init__(self) -> None:
        self.status = 0
        self.reason = b""
        self.version = "1.1"
        self.headers: list[tuple[bytes, bytes, bytes]] = []
        self.connection = b""
        self.content_length: bytes | None = None
        self.is_chunked = False
        self.has_body = True
        self.size = 0

    def check(self) -> None:
        """Raise MalformedAnswerError for what the parser lets pass and HTTP does not."""
        if not _LOWEST <= self.status <= _HIGHEST or self.version not in _VERSIONS:
            raise MalformedAnswerError
        if _REASON.fullmatch(self.reason) is None or (self.is_chunked and self.version == "1.0"):
            raise MalformedAnswerError

    @property
    def stays_open(self) -> bool:
        """Whether the target takes another request on the connection."""
        if not self.connection:
            return self.version == "1.1"
        tokens = {token.strip().lower() for token in self.connection.split(b",")}
        return b"close" not in tokens and (self.version == "1.1" or b"keep-alive" in tokens)


class MalformedAnswerError(Exception):
    """What the target sent is not an HTTP answer that may be passed on."""


class TargetConnection(asyncio.Protocol):
    """`served` counts the requests it has carried: above 0, the target may be closing it just now.

    A target that closes an idle connection is not believed at once: in AWS its FIN is under way for as long as a packet
    takes, and a request that is sent meanwhile is lost with a 502. That is why a target's keep-alive must outlast the
    load balancer's idle timeout, and why the load balancer does not try again:
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html#connection-idle-timeout
    """

    def __init__(self, target: TargetState, *, idle_timeout: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.target = target
        self.exchange: Exchange | None = None
        self.served = 0
        self.is_closed = False
        self.idle_seconds = 0.0  # for how long it had been idle when the request came
        self._idle_timeout = idle_timeout
        self._idle_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer()
        self._head_is_whole = self._ends_with_connection = False
        self._is_complete = self._is_dirty = self._is_tunnel = self._is_lost = False
        self._was_heard, self._unheard = False, 0  # bytes since the target got anywhere with its answer

    # What the exchange asks of it

    def start(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._is_complete = self._head_is_whole = False
        self.idle_seconds = self.loop.time() - self._idle_since
        if self._is_lost:
            self.loop.call_soon(self.connection_lost, ConnectionResetError())

    def write(self, data: bytes) -> None:
        if not self._is_lost:
            self._transport.write(data)

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close it now; whatever the exchange still waits for will not come."""
        self._end()
        self._transport.abort()

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self._discard()  # nobody asked
            return
        exchange.heard_from_target()
        if self._is_tunnel:
            exchange.answer_body(data)
        elif self._parse(exchange, data) and self._is_complete:
            self._finish(exchange)
        exchange.flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        exchange = self.exchange
        if exchange is None:
            if not self.is_closed:
                self._is_lost = True
                self.loop.call_later(_NEWS, self._discard)
            return
        self._end()
        if self._head_is_whole and (self._ends_with_connection or self._is_tunnel) and error is None:
            exchange.answer_ended()
        else:
            exchange.target_lost()
        exchange.flush()

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.target_is_slow()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.target_keeps_up()

    # What the parser tells

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._is_dirty = True  # more than one answer to one request
        self._answer = Answer()
        self._head_is_whole = False

    def on_status(self, reason: bytes) -> None:
        self._answer.reason += reason
        self._answer.size += len(reason)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_is_whole:
            return  # a trailer
        answer = self._answer
        answer.size += len(name) + len(value) + 4
        if answer.size > ANSWER_HEAD or len(answer.headers) >= HEADERS:
            raise MalformedAnswerError
        lower = name.lower()
        if lower == b"content-length":
            answer.content_length = value
        elif lower == b"transfer-encoding":
            if answer.is_chunked or value.strip().lower() != b"chunked":
                raise MalformedAnswerError
            answer.is_chunked = True
        elif lower == b"connection":
            answer.connection = b"%b,%b" % (answer.connection, value) if answer.connection else value
        answer.headers.append((lower, name, value))

    def on_headers_complete(self) -> None:
        answer, exchange = self._answer, self.exchange
        self._head_is_whole = True
        if exchange is None or self._is_dirty or self._is_complete:
            return
        answer.status = self._parser.get_status_code()
        answer.version = self._parser.get_http_version()
        if not _LOWEST <= answer.status <= _HIGHEST or answer.reason != b"OK" or answer.version != "1.1":
            answer.check()
        if answer.status < 200:  # noqa: PLR2004
            self._take_interim(answer, exchange)
            return
        self._was_heard = True
        answer.has_body = not exchange.is_head and answer.status not in _BODILESS
        self._ends_with_connection = (
            answer.has_body and answer.content_length is None and not answer.is_chunked
        )
        exchange.answer_head(answer)
        if not answer.has_body:
            self._is_complete = True

    def on_body(self, data: bytes) -> None:
        self._was_heard = True
        if self._is_complete:
            self._is_dirty = True
        elif self.exchange is not None:
            self.exchange.answer_body(data)

    def on_message_complete(self) -> None:
        if self._answer.status >= 200:  # noqa: PLR2004
            self._is_complete = True

    # Its own business

    def _end(self) -> None:
        self.exchange = None
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _parse(self, exchange: Exchange, data: bytes) -> bool:
        """Feed the parser; False when the answer was malformed."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._is_tunnel and rest:
                exchange.answer_body(rest)
        except httptools.HttpParserError as error:
            cause = error.__context__
            is_bug = isinstance(error, httptools.HttpParserCallbackError)
            if is_bug and cause is not None and not isinstance(cause, MalformedAnswerError):
                raise cause from error
            if self._is_complete:
                self._is_dirty = True
                return True
            return self._give_up(exchange)
        if self._was_heard:
            self._was_heard, self._unheard = False, 0
            return True
        self._unheard += len(data)
        return self._unheard <= ANSWER_SILENCE or self._give_up(exchange)

    def _give_up(self, exchange: Exchange) -> bool:
        self.close()
        exchange.answer_is_malformed()
        return False

    def _take_interim(self, answer: Answer, exchange: Exchange) -> None:
        if answer.status != _SWITCHING:
            return  # the client has had its 100 from the load balancer
        if not exchange.request.is_websocket:
            raise MalformedAnswerError
        self._is_tunnel = True
        exchange.answer_head(answer)

    def _finish(self, exchange: Exchange) -> None:
        """The answer is whole: go back to the pool if the target lets us, and if nothing else came with it."""
        answer = self._answer
        self.exchange = None
        if not answer.has_body and answer.content_length != b"0":
            # The old one waits for a body that will not come: without a length, until the connection ends.
            self._parser = httptools.HttpResponseParser(self)
        is_clean = not (self._is_dirty or self.is_closed)
        if is_clean and answer.stays_open and exchange.request_is_sent and exchange.keeps_target:
            self._rest()
        else:
            self.close()
        exchange.answer_ended()

    def _rest(self) -> None:
        self.served += 1
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
        left = self._idle_since + self._idle_timeout - self.loop.time()
        if self.exchange is None and left <= 0:
            self._discard()
        else:
            wait = self._idle_timeout if self.exchange is not None else left
            self._timer = self.loop.call_later(max(wait, 0.001), self._check_idle)

    def _discard(self) -> None:
        """Leave the pool and close; without effect on one that carries a request."""
        if self.exchange is not None or self.is_closed:
            return
        if self in self.target.idle:
            self.target.idle.remove(self)
        self.close()

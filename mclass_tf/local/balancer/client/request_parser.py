"""Parses requests, and streams them to a receiver."""

from __future__ import annotations

import logging
import time
from time import monotonic
from typing import Protocol

import httptools

from mclass_tf.local.balancer.messages.head import Head, RequestRefusedError, is_compliant, read_head, severe
from mclass_tf.local.balancer.messages.limits import REQUEST_LINE, UNPRODUCTIVE_REQUEST
from mclass_tf.local.balancer.messages.request import ClientRequest, IrregularHeadError

_log = logging.getLogger(__name__)
_EMPTY_LINES = b"\r\n"
_HEAD_ENDS = (b"\n\r\n", b"\n\n")


class RequestReceiver(Protocol):
    def head_received(self, request: ClientRequest) -> None: ...

    def body_received(self, data: bytes) -> None: ...

    def request_received(self) -> None: ...


class RequestParser:
    """Reads a head only when it is complete: a strict parser reads most of them, and `head.py` rewrites the others for it.

    No piece of data may contain bytes behind a head or behind a body. `last_bytes` helps to cut them.
    """

    def __init__(self, receiver: RequestReceiver) -> None:
        self.last_bytes = b""  # of what belongs to the current head or body
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)
        self._begun = bytearray()  # of an incomplete head
        self._times = (0.0, 0.0)  # when it began, by both clocks
        self._request: ClientRequest | None = None  # whose head is being read
        self._head: Head | None = None  # of that request, if it was rewritten
        self._is_in_body = False
        self._unproductive = 0  # bytes since the request last progressed, see `limits`

    @property
    def is_within_head(self) -> bool:
        return bool(self._begun)

    def feed(self, data: bytes | memoryview) -> bool:
        """Return whether another protocol may begin after it. Raise RequestRefusedError for an invalid request."""
        self._unproductive += len(data)
        if self._is_in_body:
            self.last_bytes = bytes(data[-2:]) if len(data) > 1 else self.last_bytes[-1:] + bytes(data)
            self._feed_body(data)
            is_upgrade = False
        else:
            head = self._take_head(bytes(data))
            is_upgrade = head is not None and self._feed_head(head)
        if self._unproductive > UNPRODUCTIVE_REQUEST:
            raise RequestRefusedError(400)
        return is_upgrade

    def take_partial(self) -> ClientRequest:
        """Return the request whose head is incomplete or was refused, or an empty one."""
        request, self._request = self._request, None
        if request is None:
            received_at, started = self._times if self._begun else (time.time(), monotonic())
            request = ClientRequest(received_at=received_at, started=started)
        return request

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        self._request = self._request or ClientRequest(received_at=time.time(), started=monotonic())

    def on_url(self, part: bytes) -> None:
        assert self._request is not None  # noqa: S101
        self._request.add_target(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request is not None:  # otherwise a trailer, which is not forwarded
            self._request.add_header(name, value)

    def on_headers_complete(self) -> None:
        request, parser = self._request, self._parser
        assert request is not None  # noqa: S101
        request.complete(
            method=parser.get_method(),
            version=parser.get_http_version(),
            keeps_alive=parser.should_keep_alive(),
            has_upgrade=parser.should_upgrade(),
            head=self._head,
        )
        self._is_in_body = True
        self._receiver.head_received(request)
        self._request = None

    def on_body(self, data: bytes) -> None:
        self._unproductive = 0
        self._receiver.body_received(data)

    def on_message_complete(self) -> None:
        self._unproductive = 0
        self._is_in_body = False
        self.last_bytes = b""
        self._receiver.request_received()

    def _take_head(self, data: bytes) -> bytes | None:
        """Return a complete head, or None if it goes on. Raise RequestRefusedError if it cannot become a valid one."""
        begun = self._begun
        if not begun:
            data = data.lstrip(_EMPTY_LINES)
            if data.endswith(_HEAD_ENDS):
                return data
            self._times = time.time(), monotonic()
        begun += data
        self.last_bytes = bytes(begun[-2:])
        if begun.endswith(_HEAD_ENDS):
            head = bytes(begun)
            received_at, started = self._times
            self._request = ClientRequest(received_at=received_at, started=started)
            begun.clear()
            self.last_bytes = b""
            return head
        if b"\0" in data:
            self._raise(severe("BadHeader" if b"\n" in begun else "BadUri"))
        if len(begun) > REQUEST_LINE and b"\n" not in begun:
            _, _, target = bytes(begun).partition(b" ")
            if target.strip(b" "):
                raise RequestRefusedError(414)
        return None

    def _feed_head(self, data: bytes) -> bool:
        self._head = None
        if is_compliant(data):
            try:
                return self._read(data)
            except (httptools.HttpParserError, IrregularHeadError):
                self._parser = httptools.HttpRequestParser(self)
                if self._request is not None:
                    times = {"received_at": self._request.received_at, "started": self._request.started}
                    self._request = ClientRequest(**times)
        try:
            self._head = read_head(data)
        except RequestRefusedError as error:
            self._raise(error)
        assert self._head is not None  # noqa: S101
        try:
            return self._read(self._head.data)
        except httptools.HttpParserError as error:
            raise RequestRefusedError(400) from error

    def _read(self, head: bytes) -> bool:
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            return True
        except httptools.HttpParserCallbackError as error:
            raise _cause(error) from error
        return False

    def _feed_body(self, data: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            raise _cause(error) from error
        except httptools.HttpParserError as error:
            raise RequestRefusedError(400) from error

    def _raise(self, error: RequestRefusedError) -> None:
        """Refuse a head, with its class for the access log."""
        request = self.take_partial()
        request.desync = error.desync
        self._request = request
        raise error


def _cause(error: httptools.HttpParserCallbackError) -> Exception:
    """Return what a callback raised: a refusal, or a bug, which is logged."""
    cause = error.__context__
    if isinstance(cause, (RequestRefusedError, IrregularHeadError)):
        return cause
    if cause is not None:
        _log.error("a request failed", exc_info=cause)
        return RequestRefusedError(500)
    return error

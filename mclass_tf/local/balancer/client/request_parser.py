"""Parses requests, and streams them to a receiver."""

from __future__ import annotations

import logging
import time
from time import monotonic
from typing import Protocol

import httptools

from mclass_tf.local.balancer.messages.limits import UNPRODUCTIVE_REQUEST
from mclass_tf.local.balancer.messages.request import ClientRequest, RequestRefusedError

_log = logging.getLogger(__name__)


class RequestReceiver(Protocol):
    def head_received(self, request: ClientRequest) -> None: ...

    def body_received(self, data: bytes) -> None: ...

    def request_received(self) -> None: ...


class RequestParser:
    """`request` is the one with a head that is still being read."""

    def __init__(self, receiver: RequestReceiver) -> None:
        self.request: ClientRequest | None = None
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)
        self._unproductive = 0  # bytes since the request last progressed, see `limits`

    def feed(self, data: bytes | memoryview) -> int | None:
        """Return the position at which another protocol may begin, or None. Raise RequestRefusedError for an invalid request."""
        self._unproductive += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            position: int = upgrade.args[0]
            return position
        except httptools.HttpParserError as error:
            raise RequestRefusedError(_status(error)) from error
        if self._unproductive > UNPRODUCTIVE_REQUEST:
            raise RequestRefusedError(400)
        return None

    def take_partial(self) -> ClientRequest:
        """Return the request with the incomplete head, or an empty one."""
        request, self.request = self.request, None
        return request or ClientRequest(received_at=time.time(), started=monotonic())

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        self.request = ClientRequest(received_at=time.time(), started=monotonic())

    def on_url(self, part: bytes) -> None:
        assert self.request is not None  # noqa: S101
        self.request.add_target(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.request is not None:  # otherwise a trailer, which is not forwarded
            self.request.add_header(name, value)

    def on_headers_complete(self) -> None:
        request, parser = self.request, self._parser
        assert request is not None  # noqa: S101
        request.complete(
            method=parser.get_method(),
            version=parser.get_http_version(),
            keeps_alive=parser.should_keep_alive(),
            has_upgrade=parser.should_upgrade(),
        )
        self._receiver.head_received(request)
        self.request = None

    def on_body(self, data: bytes) -> None:
        self._unproductive = 0
        self._receiver.body_received(data)

    def on_message_complete(self) -> None:
        self._unproductive = 0
        self._receiver.request_received()


def _status(error: httptools.HttpParserError) -> int:
    """Return the status for the client: 505 for HTTP/2, 400 for anything else that is not HTTP/1."""
    cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else None
    if isinstance(cause, RequestRefusedError):
        return cause.status
    if cause is not None:
        _log.error("a request failed", exc_info=cause)
        return 500
    return 505 if "PRI" in str(error) else 400

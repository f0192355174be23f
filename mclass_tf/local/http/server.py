"""A threaded HTTP/1.1 server with keep-alive.

Terraform sends hundreds of calls over a few connections, but the development servers of Flask and Werkzeug close the
connection after every reply.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import re
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import IO, Any
from urllib.parse import unquote_to_bytes, urlsplit

from mclass_tf.local.http.bodies import MalformedBodyError, RequestBody, TooLargeError
from mclass_tf.local.http.connections import ConnectionPhase, Connections
from mclass_tf.local.http.descriptors import DescriptorReserve

_log = logging.getLogger("mclass_tf.local")

IDLE_SECONDS = 120.0  # longer than SDKs keep an idle connection (Go: 90 s): the client closes first
TOO_LARGE = "mclass.too_large"
"""Key in the WSGI environment of a request with a body above the limit. The body is dropped; the application must refuse it."""
_IN_MEMORY = 8 * 1024 * 1024
_LARGEST_HEAD = 128 * 1024
_MOST_CONNECTIONS = 1000
_RESERVED = 4  # descriptors, to answer a client that asks for the cause when no others are left
_EXHAUSTED = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
_BACK_OFF_SECONDS = 1.0
_LINGER_BYTES = 64 * 1024 * 1024
_LINGER_SECONDS = 2.0  # between two reads
_LINGER_AT_MOST_SECONDS = 10.0
_QUIET_SECONDS = 60.0  # before the same problem is reported again
_IN_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """`length` bytes of a file, starting at `offset`."""

    path: Path
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer; the server adds Content-Length. `file`, if given, is the body and is sent without loading it into memory."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=())
    file: FilePart | None = None

    @property
    def length(self) -> int:
        return len(self.body) if self.file is None else self.file.length


def json_reply(status: int, document: Any, *, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    body = json.dumps(document).encode()
    return Reply(status=status, headers=(("Content-Type", "application/json"), *headers), body=body)


App = Callable[[dict[str, Any]], Reply]
"""Answers a request, given as a WSGI environment with the whole body in `wsgi.input`."""

Precheck = Callable[[dict[str, Any]], Reply | None]
"""Returns the refusal of a request by its head alone, before a large body is read; None to accept it so far."""

Sink = Callable[[dict[str, Any]], AbstractContextManager[IO[bytes]] | None]
"""Returns the file to stream a request's body to, by its head alone; None to buffer it for the application."""


class Server(ThreadingMixIn, TCPServer):
    """`largest` returns the limit in bytes of a body without a sink. `report` is called with problems.

    `most` is the limit on connections. Beyond it, new ones are rejected immediately, and `handle_request` never waits.
    None: the limit depends on the descriptors of the process, and further connections wait for room.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        *,
        listener: socket.socket,
        app: App,
        sink: Sink = lambda _environ: None,
        precheck: Precheck = lambda _environ: None,
        largest: Callable[[dict[str, Any]], int] = lambda _environ: sys.maxsize,
        report: Callable[[str], None] = lambda _problem: None,
        most: int | None = None,
    ) -> None:
        host, port = listener.getsockname()[:2]
        super().__init__((host, port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.app = app
        self.sink = sink
        self.precheck = precheck
        self.largest = largest
        self.connections = Connections()
        self._report = report
        self._reported: dict[str, float] = {}
        self._most = most
        self._reserve = DescriptorReserve(_RESERVED if most is None else 1)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. If full, make room and raise OSError: the connection waits in the backlog."""
        if self._is_full:
            self._make_room(f"the server has {self._room} connections, as many as it takes ({_limit()})")
        if self._is_full and self._most is None:
            raise BlockingIOError
        try:
            accepted = self._accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._make_room(f"the server cannot take connections: {error.strerror} ({_limit()})")
            raise
        if self._most is not None and (self._is_full or not self._reserve.is_complete):
            accepted[0].close()
            self._reserve.fill()
            raise BlockingIOError
        self.connections.enter(accepted[0], ConnectionPhase.WAITING)
        return accepted

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except RuntimeError as error:  # no thread can be started
            self.report_problem(f"the server cannot take connections: {error}")
            self.shutdown_request(request)

    def close_request(self, request: Any) -> None:
        super().close_request(request)
        self._reserve.fill()
        self.connections.remove(request)

    def server_close(self) -> None:
        """Close the port and its connections. Their threads end, too."""
        super().server_close()
        self.connections.shut_down()
        self._reserve.close()

    def report_problem(self, problem: str) -> None:
        """Log a problem and call `report`, but not again while the problem continues."""
        before, now = self._reported.get(problem), time.monotonic()
        self._reported[problem] = now
        if before is None or now - before > _QUIET_SECONDS:
            others = "wait" if self._most is None else "are turned away"
            _log.error("%s; idle ones are closed, others %s", problem, others)
            self._report(problem)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  socketserver's signature
        """Log all errors with a traceback, except that a client disconnects."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            _log.exception("connection of %s failed", client_address)

    def _accept(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno not in _EXHAUSTED or not self._reserve.release():
                raise
            self.report_problem(f"the server cannot take connections: {error.strerror} ({_limit()})")
            return super().get_request()

    def _make_room(self, problem: str) -> None:
        self.report_problem(problem)
        self.connections.make_room(seconds=_BACK_OFF_SECONDS if self._most is None else 0)

    @property
    def _room(self) -> int:
        return self._most or _most_connections()

    @property
    def _is_full(self) -> bool:
        return len(self.connections) >= self._room


class _Reader(io.BufferedIOBase):
    """Reads from a client, with a limit on the size of a head. `allow_head` resets it for the next one."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._left = 0

    def allow_head(self) -> None:
        self._left = _LARGEST_HEAD

    def readline(self, size: int | None = -1, /) -> bytes:
        line = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise HTTPException(f"the head is longer than {_LARGEST_HEAD} bytes")
        return line

    def close(self) -> None:
        self._file.close()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "mclass-local-aws"
    disable_nagle_algorithm = True  # otherwise small replies wait for the client's delayed acknowledgement
    timeout = IDLE_SECONDS
    rbufsize = 64 * 1024

    def setup(self) -> None:
        super().setup()
        self._received = self.rfile
        self.rfile = self._reader = _Reader(self._received)

    def handle_one_request(self) -> None:
        self.server.connections.enter(self.connection, ConnectionPhase.WAITING)
        self._reader.allow_head()
        super().handle_one_request()

    def answer(self) -> None:
        try:
            body = RequestBody(self.headers)
            environ = self._environ(body)
        except ValueError as error:  # invalid framing of the body, or an invalid URL
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        if _is_large(body) and (refusal := self.server.precheck(environ)) is not None:
            self._reject(refusal)
            return
        try:
            sink = self.server.sink(environ)
            if sink is not None:
                with sink as target:
                    self._receive(body, target, most=None)
                self._reply(environ)
                return
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as kept:
                self._buffer(body, kept, environ)
                self._reply(environ)
            if TOO_LARGE in environ:
                self._linger()
        except MalformedBodyError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self.server.report_problem(f"the server cannot answer: {error.strerror} ({_limit()})")
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"the local AWS is at its limit: {error.strerror}")

    def _buffer(self, body: RequestBody, kept: Any, environ: dict[str, Any]) -> None:
        """Buffer the body for the application, or mark the request as TOO_LARGE."""
        try:
            self._receive(body, kept, most=self.server.largest(environ))
            environ["CONTENT_LENGTH"] = str(kept.tell())
            kept.seek(0)
            environ["wsgi.input"] = kept
        except TooLargeError:
            self.close_connection = True
            environ[TOO_LARGE] = True
            environ["CONTENT_LENGTH"] = "0"

    def _receive(self, body: RequestBody, target: IO[bytes], *, most: int | None) -> None:
        connections = self.server.connections

        def on_data() -> None:
            connections.enter(self.connection, ConnectionPhase.READING)

        on_data()
        body.copy(source=self._received, target=target, most=most, on_data=on_data)

    def _reply(self, environ: dict[str, Any]) -> None:
        self.server.connections.enter(self.connection, ConnectionPhase.ANSWERING)
        try:
            reply = self.server.app(environ)
        except OSError:
            raise
        except Exception:  # noqa: BLE001  a bug: the client gets an answer instead of waiting for ever
            _log.exception("%s %s failed", self.command, self.path)
            reply = Reply(status=HTTPStatus.INTERNAL_SERVER_ERROR, body=b"the traceback is in server.log\n")
        self._send(reply)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._headers_buffer: list[bytes] = []  # discard an unfinished answer
        text = ("Content-Type", "text/plain; charset=utf-8")
        self._reject(Reply(status=status, headers=(text,), body=f"{reason}\n".encode(errors="replace")))

    def _reject(self, refusal: Reply) -> None:
        self.close_connection = True
        self._send(refusal)
        self._linger()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        super().send_error(code, message, explain)
        self._linger()

    def _linger(self) -> None:
        """Read some more of the request: a client that sends into a closed connection would not see its answer.

        The connection counts as idle, so a slow sender is closed when others need room.
        """
        self.server.connections.enter(self.connection, ConnectionPhase.WAITING)
        self.connection.settimeout(_LINGER_SECONDS)
        over = time.monotonic() + _LINGER_AT_MOST_SECONDS
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            left = _LINGER_BYTES
            while left > 0 and time.monotonic() < over and (piece := self._received.read1(_IN_MEMORY)):
                left -= len(piece)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log malformed requests only: the application logs its own calls."""
        if not format.startswith('"%s"'):
            _log.info("%s: %s", self.address_string(), format % args)

    def _send(self, reply: Reply) -> None:
        """Send status, headers and body in one write, in as few packets as possible."""
        self.send_response_only(reply.status)
        sent = set()
        for name, value in reply.headers:
            if name.lower() in {"content-length", "transfer-encoding", "connection"}:
                continue
            sent.add(name.lower())
            # The value may contain a client's text: prevent header injection.
            self.send_header(name, _IN_HEADER.sub("?", str(value)))
        if "date" not in sent:
            self.send_header("Date", self.date_time_string())
        bodiless = reply.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        if self.command == "HEAD":
            self.send_header("Content-Length", _header(reply, "content-length") or str(reply.length))
        elif not bodiless:
            self.send_header("Content-Length", str(reply.length))
        if self.close_connection:
            self.send_header("Connection", "close")
        if bodiless or self.command == "HEAD":
            self.end_headers()
        elif reply.file is None:
            self._write(reply.body)
        else:
            with reply.file.path.open("rb") as file:  # opened before anything is sent: it may fail
                self._write(b"")
                if reply.file.length:
                    self.connection.sendfile(file, reply.file.offset, reply.file.length)

    def _write(self, body: bytes) -> None:
        self._headers_buffer.append(b"\r\n" + body)
        self.flush_headers()

    def _environ(self, body: RequestBody) -> dict[str, Any]:
        url = urlsplit(self.path) if not self.path.startswith("//") else urlsplit(f"http://x{self.path}")
        host, port = self.server.server_address[:2]
        environ: dict[str, Any] = {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(url.path).decode("latin-1"),
            "QUERY_STRING": url.query,
            "RAW_URI": self.path,
            "REQUEST_URI": self.path,
            "REMOTE_ADDR": self.client_address[0],
            "SERVER_NAME": str(host),
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": self.request_version,
            "CONTENT_LENGTH": "" if body.length is None else str(body.length),
        }
        environ.update(_header_variables(self.headers))
        return environ


def _is_large(body: RequestBody) -> bool:
    """Return whether the body would be spooled to disk, or states no length."""
    return body.length is None or body.length > _IN_MEMORY


def _header(reply: Reply, name: str) -> str | None:
    return next((value for key, value in reply.headers if key.lower() == name), None)


def _header_variables(headers: Message) -> dict[str, Any]:
    """Return headers as WSGI variables.

    WSGI folds `-` and `_`, but they distinguish keys of S3's user metadata. So moto reads the spelling of these from a variable
    of its own. Other headers with `_` are dropped, as a proxy would.
    """
    variables: dict[str, Any] = {}
    spelling: dict[str, str] = {}
    for name, value in headers.items():
        key = f"HTTP_{name.upper().replace('-', '_')}"
        if "_" in name:
            if not name.lower().startswith("x-amz-meta-"):
                continue
            spelling[key] = name
        if key == "HTTP_CONTENT_TYPE":
            variables["CONTENT_TYPE"] = value
        elif key not in {"HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"}:
            variables[key] = f"{variables[key]},{value}" if key in variables else value
    variables["moto.preserved_header_names"] = spelling
    return variables


def _most_connections() -> int:
    """Return at most half of the descriptors: blobs, processes and their pipes need the others."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_CONNECTIONS if most == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, most // 2)


def _limit() -> str:
    return f"ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"

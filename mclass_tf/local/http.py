"""An HTTP/1.1 server with keep-alive over threads: one request in, one reply out.

Terraform sends hundreds of calls over a few connections; the development servers of Flask and Werkzeug close
the connection after every reply.
"""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import IO, Any
from urllib.parse import unquote_to_bytes, urlsplit

_log = logging.getLogger("mclass_tf.local")

IDLE_SECONDS = 120.0  # longer than SDKs keep an idle connection (Go: 90 s): the client closes first
_IN_MEMORY = 8 * 1024 * 1024
_PIECE = 1024 * 1024
_LONGEST_LINE = 65536


class MalformedBodyError(ValueError):
    """The body of a request does not follow HTTP."""


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """`length` bytes of a file from `offset` on."""

    path: Path
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A whole answer; Content-Length is added on the wire. `file`, where given, is the body, and never in memory."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=())
    file: FilePart | None = None

    @property
    def length(self) -> int:
        return len(self.body) if self.file is None else self.file.length


App = Callable[[dict[str, Any]], Reply]
"""Answers a request, which comes as a WSGI environment with the whole body in `wsgi.input`."""

Bar = Callable[[dict[str, Any]], Reply | None]
"""Says by the head of a request alone that it is refused, before a large body is taken; None: nothing is known against it."""

Sink = Callable[[dict[str, Any]], AbstractContextManager[IO[bytes]] | None]
"""Says where the body of a request goes as it arrives, by its head alone; None: it is kept for the application."""


class Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        *,
        listener: socket.socket,
        app: App,
        sink: Sink = lambda _environ: None,
        bar: Bar = lambda _environ: None,
    ) -> None:
        host, port = listener.getsockname()[:2]
        super().__init__((host, port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.app = app
        self.sink = sink
        self.bar = bar
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()

    def server_close(self) -> None:
        """Close the port, and the connections that came by it: their threads end with them."""
        super().server_close()
        with self._lock:
            connections = tuple(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  socketserver's signature
        """A client that hangs up is no news; everything else is logged with its traceback."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            _log.exception("connection of %s failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "mclass-local-aws"
    disable_nagle_algorithm = True  # else each small reply waits for the client's delayed acknowledgement
    timeout = IDLE_SECONDS
    rbufsize = 64 * 1024

    def answer(self) -> None:
        environ = self._environ()
        if self._is_large and (refusal := self.server.bar(environ)) is not None:
            self.close_connection = True  # what else it sends is not read
            self._send(refusal)
            return
        sink = self.server.sink(environ)
        try:
            if sink is not None:
                with sink as target:
                    _copy_body(source=self.rfile, headers=self.headers, target=target)
                self._send(self.server.app(environ))
                return
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as body:
                _copy_body(source=self.rfile, headers=self.headers, target=body)
                environ["CONTENT_LENGTH"] = str(body.tell())
                body.seek(0)
                environ["wsgi.input"] = body
                self._send(self.server.app(environ))
        except MalformedBodyError as error:
            self.close_connection = True
            self._send(Reply(status=HTTPStatus.BAD_REQUEST, body=f"{error}\n".encode()))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer  # noqa: N815

    @property
    def _is_large(self) -> bool:
        """Whether its body would go to the disk, or does not say how large it is."""
        stated = self.headers.get("Content-Length", "0").strip()
        return "Transfer-Encoding" in self.headers or (stated.isdigit() and int(stated) > _IN_MEMORY)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """The application logs the calls; malformed requests alone come this way."""
        if not format.startswith('"%s"'):
            _log.info("%s: %s", self.address_string(), format % args)

    def _send(self, reply: Reply) -> None:
        """Status, headers and body in one write, so that they travel in as few packets as possible."""
        self.send_response_only(reply.status)
        sent = set()
        for name, value in reply.headers:
            if name.lower() in {"content-length", "transfer-encoding", "connection"}:
                continue
            sent.add(name.lower())
            self.send_header(name, value)
        if "date" not in sent:
            self.send_header("Date", self.date_time_string())
        bodiless = reply.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        if self.command == "HEAD":
            self.send_header("Content-Length", _header(reply, "content-length") or str(reply.length))
        elif not bodiless:
            self.send_header("Content-Length", str(reply.length))
        if self.close_connection:
            self.send_header("Connection", "close")
        buffered: list[bytes] = self._headers_buffer  # type: ignore[attr-defined]
        if not bodiless and self.command != "HEAD":
            buffered.append(b"\r\n" + reply.body)
            self.flush_headers()
            if reply.file is not None and reply.file.length:
                with reply.file.path.open("rb") as file:
                    self.connection.sendfile(file, reply.file.offset, reply.file.length)
        else:
            self.end_headers()

    def _environ(self) -> dict[str, Any]:
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
            "CONTENT_LENGTH": "0",
        }
        environ.update(_header_variables(self.headers))
        return environ


def _header(reply: Reply, name: str) -> str | None:
    return next((value for key, value in reply.headers if key.lower() == name), None)


def _header_variables(headers: Message) -> dict[str, Any]:
    """Headers as WSGI variables. WSGI folds `-` and `_`, but S3 tells user metadata keys apart by them: moto
    takes their spelling from a variable of its own, and other headers with `_` are dropped as a proxy would.
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


def _copy_body(*, source: BufferedIOBase, headers: Message, target: IO[bytes]) -> None:
    """The whole request body, so that the next request on the connection starts where this one ended."""
    if "chunked" in headers.get("Transfer-Encoding", "").lower():
        _copy_chunks(source=source, target=target)
        return
    stated = headers.get("Content-Length", "0").strip()
    if not stated.isdigit():
        raise MalformedBodyError(f"invalid Content-Length: {stated}")
    _copy(source=source, target=target, length=int(stated))


def _copy_chunks(*, source: BufferedIOBase, target: IO[bytes]) -> None:
    while True:
        line = source.readline(_LONGEST_LINE)
        try:
            length = int(line.split(b";", 1)[0].strip() or b"x", 16)
        except ValueError:
            raise MalformedBodyError(f"invalid chunk size: {line[:32]!r}") from None
        if length == 0:
            break
        _copy(source=source, target=target, length=length)
        source.readline(_LONGEST_LINE)
    with contextlib.suppress(ConnectionError):
        while source.readline(_LONGEST_LINE).strip():  # the trailers and the empty line after them
            pass


def _copy(*, source: BufferedIOBase, target: IO[bytes], length: int) -> None:
    while length > 0:
        piece = source.read(min(length, _PIECE))
        if not piece:
            raise ConnectionResetError("the client hung up in the middle of a body")
        target.write(piece)
        length -= len(piece)

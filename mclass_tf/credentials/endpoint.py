"""Hands credentials to child processes, such as Terraform, for as long as they run.

Environment variables cannot be renewed. So a child gets the address of this endpoint, where the AWS SDKs fetch credentials as from
ECS, and fetch new ones before these end. It listens on loopback only, and answers only processes of the same user that know its token.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from __future__ import annotations

import atexit
import hmac
import json
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PATH = "/credentials"
_SECONDS = 10.0  # to wait for each part of a request
_MOST = 64  # connections at a time

Admits = Callable[[socket.socket], bool]
"""Returns whether the other end of a connection may ask."""
Document = Callable[[], Mapping[str, str]]
"""Returns AccessKeyId, SecretAccessKey, Token and Expiration. Its errors are told to the client."""


class Endpoint:
    """It starts when a child is to be given its address, and ends with this process."""

    def __init__(self, document: Document, *, admits: Admits) -> None:
        self._document = document
        self._admits = admits
        self._token = secrets.token_urlsafe(32)

    def variables(self) -> dict[str, str]:
        """Return the environment variables by which an SDK fetches the credentials."""
        return {
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self._token,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self._server.server_port}{_PATH}",
        }

    def close(self) -> None:
        if "_server" in self.__dict__:
            self._server.shutdown()
            self._server.server_close()
            del self.__dict__["_server"]

    @cached_property
    def _server(self) -> _Server:
        server = _Server(document=self._document, token=self._token, admits=self._admits)
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="credentials", daemon=True
        ).start()
        atexit.register(server.server_close)
        return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _MOST

    def __init__(self, *, document: Document, token: str, admits: Admits) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._admits = admits
        self.document = document
        self.token = token
        self._places = threading.BoundedSemaphore(_MOST)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Close the connections of other users at once: they could take all places, and keep them."""
        return self._admits(request)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Close the connection at once if there are too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that broke off: it would be in the middle of the command's own output."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SECONDS

    def do_GET(self) -> None:
        self.close_connection = True
        # Where a header is absent, an empty token must not match.
        sent = (self.headers.get("Authorization") or "-").encode("utf-8", "replace")
        if self.path != _PATH or not hmac.compare_digest(sent, self.server.token.encode()):
            self._answer(
                HTTPStatus.FORBIDDEN, {"Code": "AccessDenied", "Message": "the token is not the endpoint's"}
            )
            return
        try:
            document = self.server.document()
        except Exception as error:  # noqa: BLE001  (the child reports it, with the code)
            self._answer(HTTPStatus.BAD_REQUEST, {"Code": "CredentialsExpired", "Message": str(error)})
            return
        self._answer(HTTPStatus.OK, document)

    def _answer(self, status: HTTPStatus, document: Mapping[str, str]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Write no log: standard error is the command's."""

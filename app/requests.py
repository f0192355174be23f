"""Middleware that counts, identifies and logs requests, and closes connections during shutdown."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.faults import Errors
from app.lifecycle import Lifecycle
from app.logs import request_fields
from app.web import PROBES

_log = logging.getLogger("app.requests")
# Ids from the caller are used only if they are safe as response headers.
_REQUEST_ID = re.compile(rb"[\w.:=+/-]{1,128}", re.ASCII)
_TRACE_ID = re.compile(rb"[\x20-\x7e]{1,512}")
_SERVER_ERROR = 500


class Requests:
    """ASGI middleware around the endpoints."""

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle, errors: Errors, revision: str) -> None:
        self._app = app
        self._revision = revision.encode()
        self._lifecycle = lifecycle
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._lifecycle.entered()
        ids = _ids(scope)
        token = request_fields.set(ids)
        headers = ((b"x-request-id", ids["request_id"].encode()), (b"x-revision", self._revision))
        answer = _Answer(send, lifecycle=self._lifecycle, headers=headers)
        started = time.perf_counter()
        try:
            await self._serve(scope, receive, answer)
        finally:
            self._lifecycle.left()
            _log_access(scope, status=answer.status, seconds=time.perf_counter() - started)
            request_fields.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        app = self._app
        if scope["path"] not in PROBES and self._errors.next():
            app = JSONResponse({"error": "a fault was asked for"}, status_code=500)
        try:
            await app(scope, receive, answer)
        except asyncio.CancelledError:
            # The drain took too long. A response is better than a broken connection.
            _log.error("cut off: the request took longer than MCLASS_LONGEST_REQUEST_SECONDS")
            if answer.status is None:
                await JSONResponse({"error": "the service ends"}, status_code=503)(scope, receive, answer)
        except Exception:  # noqa: BLE001 - logged with the ids; uvicorn would log it without
            # Starlette has already answered with 500 or broken off the response: only log it.
            _log.exception("failed")


class _Answer:
    """Passes on the response with our headers, and records its status."""

    def __init__(self, send: Send, *, lifecycle: Lifecycle, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self.status: int | None = None
        self._send = send
        self._lifecycle = lifecycle
        self._headers = headers

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers]
            if self._lifecycle.closing:
                message["headers"].append((b"connection", b"close"))
        await self._send(message)


def _ids(scope: Scope) -> dict[str, str]:
    request_id = trace_id = None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value.decode("ascii")
        elif name == b"x-amzn-trace-id" and _TRACE_ID.fullmatch(value):
            trace_id = value.decode("ascii")
    ids = {"request_id": request_id or os.urandom(16).hex()}
    return ids if trace_id is None else {**ids, "trace_id": trace_id}


def _log_access(scope: Scope, *, status: int | None, seconds: float) -> None:
    """Write the access log, without the query, which may contain secrets. Successful probes are noise (DEBUG)."""
    path = scope["path"]
    if status is None or status >= _SERVER_ERROR:
        level = logging.WARNING
    else:
        level = logging.DEBUG if path in PROBES else logging.INFO
    if _log.isEnabledFor(level):
        fields = {
            "method": scope["method"],
            "path": path,
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
        }
        _log.log(level, "request", extra={"fields": fields})

"""The endpoints."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app import SERVICE
from app.lifecycle import Lifecycle, Phase
from app.settings import Settings

PROBES = frozenset({"/health", "/ready"})
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_NOT_STORED = {"Cache-Control": "no-store"}  # each response is about this moment and this task


class Endpoints:
    """The handlers of all endpoints. `task` is the id of the ECS task, None outside of ECS."""

    def __init__(self, *, settings: Settings, lifecycle: Lifecycle, task: str | None) -> None:
        self._lifecycle = lifecycle
        self._version = {"version": settings.version, "revision": settings.revision}
        self._about = {"service": SERVICE, **self._version, "task": task}
        self._most_ms = int(settings.longest_request * 1000)
        self._unhealthy_after = settings.faults.unhealthy_after

    def application(self) -> Starlette:
        application = Starlette(
            routes=[
                Route("/", self.about),
                Route("/health", self.health),
                Route("/ready", self.ready),
                Route("/version", self.version),
                Route("/work", self.work),
            ],
            exception_handlers={HTTPException: _refused},
        )
        # A redirect would have no body, and would use the Host header of the caller.
        application.router.redirect_slashes = False
        return application

    async def about(self, _: Request) -> JSONResponse:
        return _answer(self._about)

    async def version(self, _: Request) -> JSONResponse:
        return _answer(self._version)

    async def health(self, _: Request) -> JSONResponse:
        """Liveness. Stays healthy after SIGTERM, so that a stopping task is not killed as unhealthy."""
        if self._is_unhealthy():
            return _answer({"status": "unhealthy"}, status=503)
        return _answer({"status": "ok"})

    async def ready(self, _: Request) -> JSONResponse:
        """Readiness: whether the task should get new requests."""
        if self._is_unhealthy():
            return _answer({"status": "unhealthy"}, status=503)
        phase = self._lifecycle.phase
        if phase is not Phase.SERVING:
            return _answer({"status": phase.value}, status=503)
        return _answer({"status": "ready"})

    async def work(self, request: Request) -> JSONResponse:
        """Hold the request open for `ms` milliseconds."""
        ms = request.query_params.get("ms", "")
        if not _WHOLE.fullmatch(ms) or int(ms) > self._most_ms:
            raise HTTPException(400, f"ms must be a whole number from 0 to {self._most_ms}, for example 250")
        await asyncio.sleep(int(ms) / 1000)
        return _answer({"worked_ms": int(ms)})

    def _is_unhealthy(self) -> bool:
        if self._unhealthy_after is None:
            return False
        return time.monotonic() - self._lifecycle.started >= self._unhealthy_after


def _answer(document: Mapping[str, Any], *, status: int = 200) -> JSONResponse:
    return JSONResponse(document, status_code=status, headers=_NOT_STORED)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette's type of a handler is wider than its use
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)

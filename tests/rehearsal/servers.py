"""Small servers as targets of the load. Each misbehaves in one way and records its requests."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


class Server:
    """A server on a free port of loopback, in its own thread."""

    def __init__(self, handler: Handler, *, keep_alive: float = 75.0) -> None:
        self._handler = handler
        self._keep_alive = keep_alive
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def close(self) -> None:
        if self._stop is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def _run(self) -> None:
        # It cancels the remaining tasks at the end.
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handler(request)

        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, keepalive_timeout=self._keep_alive, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()


@contextmanager
def serving(handler: Handler, *, keep_alive: float = 75.0) -> Iterator[Server]:
    server = Server(handler, keep_alive=keep_alive)
    server.start()
    try:
        yield server
    finally:
        server.close()


def answer(revision: str = "one", *, status: int = 200) -> web.Response:
    """The service's answer."""
    document = {"service": "mclass-server", "version": "1.0.0", "revision": revision}
    return web.Response(text=json.dumps(document), content_type="application/json", status=status)


async def answer_correctly(request: web.Request) -> web.StreamResponse:
    """Answer as the service does, including long requests."""
    if request.path == "/work":
        await asyncio.sleep(int(request.query["ms"]) / 1000)
        return web.json_response({"worked_ms": int(request.query["ms"])})
    return answer()

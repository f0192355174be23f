"""The baseline of the service's figures: bare uvicorn, `python -m benchmarks.app_bare FD [log]`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

_KEEP_ALIVE = 75  # seconds: a load balancer's idle timeout is 60
_BODY = b'{"version":"1.0.0","revision":"unknown"}'  # the response of the service's /version
_HEADERS = [
    (b"content-length", str(len(_BODY)).encode()),
    (b"content-type", b"application/json"),
]


async def app(_: Any, __: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


def main(number: str, *options: str) -> None:
    listener = socket.socket(fileno=int(number))
    config = uvicorn.Config(
        app,
        access_log="log" in options,
        http="httptools",
        lifespan="off",
        loop="uvloop",
        timeout_keep_alive=_KEEP_ALIVE,
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])

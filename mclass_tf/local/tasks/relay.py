"""Lets containers reach ports that are open to this machine's loopback alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_PIECE = 64 * 1024


class Relay:
    """Passes connections to `gateway`, this machine's address on the network of containers, on to 127.0.0.1."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self._servers: dict[int, asyncio.Server] = {}
        self._lock = asyncio.Lock()

    async def port(self, target: int) -> int:
        """Return the port of the gateway that leads to the port `target` of 127.0.0.1; raise OSError."""
        async with self._lock:
            if target not in self._servers:
                self._servers[target] = await self._open(target)
            return int(self._servers[target].sockets[0].getsockname()[1])

    def close(self) -> None:
        for server in self._servers.values():
            server.close()

    async def _open(self, target: int) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", target)
                await asyncio.gather(_pass_on(reader, there[1]), _pass_on(there[0], writer))
            writer.close()

        listener = socket.socket()
        try:
            # The network of containers is there only while one of them runs.
            listener.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_FREEBIND", 15), 1)
            listener.bind((self.gateway, 0))
        except OSError:
            listener.close()
            raise
        server = await asyncio.start_server(serve, sock=listener, start_serving=False)
        try:
            await server.start_serving()
        except BaseException:
            server.close()
            raise
        return server


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    writer.close()

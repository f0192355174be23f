"""Clients that harm a load balancer as far as it lets them, each in its own way.

`python -m tests.local.hostile_clients PORT NUMBER SECONDS`: so many at once, none of them for longer than that.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import cast

_PIECE = 16 * 1024  # bytes of what has no end
_IN_A_ROW = (
    100  # requests of a client that sends many at once; more are load, and every target has a limit of that
)
_DRIP = 0.1  # seconds from one byte of a slow client to the next

_GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"


async def _endless(writer: asyncio.StreamWriter, begun: bytes, piece: bytes) -> None:
    """Send `piece` for ever, as fast as it is taken."""
    writer.write(begun)
    while not writer.is_closing():
        writer.write(piece * (_PIECE // len(piece)))
        await writer.drain()
        await asyncio.sleep(0)


async def _drip(writer: asyncio.StreamWriter, begun: bytes, piece: bytes) -> None:
    """Send `piece` for ever, one byte at a time."""
    writer.write(begun)
    for byte in itertools.cycle(piece):
        if writer.is_closing():
            return
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(_DRIP)


async def _once(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send it and wait."""
    writer.write(data)
    await writer.drain()
    await asyncio.Event().wait()


async def _reset(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send it and be gone."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.write(data)
    writer.transport.abort()


Attack = Callable[[asyncio.StreamWriter], Awaitable[None]]
ATTACKS: tuple[Attack, ...] = (
    lambda writer: _once(writer, b""),
    lambda writer: _once(writer, _GET),
    lambda writer: _once(writer, _GET + b"a:\r\n" * 900),
    lambda writer: _once(writer, _POST + b"Content-Length: 1000000\r\n\r\n"),
    lambda writer: _once(writer, (_GET + b"\r\n") * _IN_A_ROW),
    lambda writer: _once(writer, (_GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n") * _IN_A_ROW),
    lambda writer: _once(writer, (_GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n") * _IN_A_ROW),
    lambda writer: _once(writer, b"\x16\x03\x01\x02\x00\x01\x00" * 100),
    lambda writer: _once(writer, _POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    lambda writer: _drip(writer, b"", _GET * 100),
    lambda writer: _drip(writer, _POST + b"Content-Length: 1000000\r\n\r\n", b"x"),
    lambda writer: _drip(writer, _CHUNKED, b"1\r\nx\r\n"),
    lambda writer: _endless(writer, b"GET /", b"a"),
    lambda writer: _endless(writer, _GET, b"a"),
    lambda writer: _endless(writer, _GET + b"X: ", b"a"),
    lambda writer: _endless(writer, _GET, b"a:\r\n"),
    lambda writer: _endless(writer, _CHUNKED, b"0"),
    lambda writer: _endless(writer, _CHUNKED + b"3;x=", b"a"),
    lambda writer: _endless(writer, _CHUNKED + b"0\r\nX: ", b"a"),
    lambda writer: _reset(writer, _GET + b"\r\n"),
    lambda writer: _reset(writer, _POST + b"Content-Length: 3\r\n\r\nx"),
)
"""None of them ever reads an answer."""


class Attackers:
    """`requests` counts those that have begun."""

    def __init__(self, port: int, *, number: int, life: float) -> None:
        self.requests = 0
        self._port = port
        self._life = life
        self._attacks: Iterator[Attack] = itertools.islice(itertools.cycle(ATTACKS), number)

    async def attack(self) -> None:
        """Be one client after the other, as long as there are any left."""
        for attack in self._attacks:
            self.requests += 1
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._life):
                    await self._be(attack)

    async def _be(self, attack: Attack) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        cast("asyncio.Transport", writer.transport).pause_reading()
        try:
            await attack(writer)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def attackers(
    port: int, number: int, *, at_once: int, life: float
) -> AsyncIterator[asyncio.Future[list[None]]]:
    """Enter while they attack, each for `life` seconds unless it is disconnected before; with what ends when they have."""
    made = Attackers(port, number=number, life=life)
    attacking = asyncio.gather(*(made.attack() for _ in range(at_once)))
    try:
        yield attacking
    finally:
        attacking.cancel()
        with suppress(asyncio.CancelledError):
            await attacking


async def main(port: str, number: str, life: str) -> None:
    async with attackers(int(port), int(number), at_once=int(number), life=float(life)) as attacking:
        await attacking


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""Reads the output of processes, and splits it into lines or keeps its tail."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

LONGEST_LINE = 262_118
"""Bytes of the largest CloudWatch Logs event. The awslogs driver splits longer lines at this size."""
_PIECE = 64 * 1024
_CONTINUES = 0x80  # the two upper bits of a UTF-8 continuation byte
_UPPER_BITS = 0xC0


class Pipe:
    """Passes on what arrives on a descriptor, which it owns, until end of file.

    It does not read ahead: a process that writes faster blocks, as on any pipe.
    """

    def __init__(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        self._descriptor = descriptor
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()  # unlike a future, a waiter cannot cancel it
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    async def wait(self) -> None:
        """Return at end of file, or after `close`."""
        await self._closed.wait()

    def close(self) -> None:
        if not self.is_closed:
            self._closed.set()
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)

    def _read(self) -> None:
        try:
            piece = os.read(self._descriptor, _PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            piece = b""
        if piece:
            self._take(piece)
        else:
            self.close()


async def finish(pipes: tuple[Pipe, ...], *, seconds: float) -> None:
    """Wait until all pipes have ended; after `seconds`, close those that a process still holds open."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(pipe.wait() for pipe in pipes))
    for pipe in pipes:
        pipe.close()


class Lines:
    """Splits bytes into lines of UTF-8. Replaces invalid bytes, and splits lines that are too long."""

    def __init__(self, output: Callable[[str], None], *, longest: int = LONGEST_LINE) -> None:
        self._output = output
        self._longest = longest
        self._held = bytearray()

    def take(self, piece: bytes) -> None:
        *whole, rest = piece.split(b"\n")
        for line in whole:
            self._hold(line)
            self._output(bytes(self._held).decode(errors="replace"))
            self._held.clear()
        self._hold(rest)

    def finish(self) -> None:
        """Pass on the last line if it does not end with a newline."""
        if self._held:
            self._output(bytes(self._held).decode(errors="replace"))
            self._held.clear()

    def _hold(self, part: bytes) -> None:
        self._held += part
        while len(self._held) > self._longest:
            end = self._cut()
            self._output(bytes(self._held[:end]).decode(errors="replace"))
            del self._held[:end]

    def _cut(self) -> int:
        """Return where to split, which is not inside a character (four bytes at most)."""
        for end in range(self._longest, self._longest - 4, -1):
            if self._held[end] & _UPPER_BITS != _CONTINUES:
                return end
        return self._longest


class Tail:
    """Keeps the last `size` bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept = bytearray()

    def take(self, piece: bytes) -> None:
        self._kept += piece
        del self._kept[: -self._size]

    @property
    def text(self) -> str:
        return bytes(self._kept).decode(errors="replace")

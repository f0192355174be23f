"""Received bytes of a client that the parser has not read yet."""

from __future__ import annotations

_HEAD_END = b"\n\r\n"
_BARE_HEAD_END = b"\n\n"


class Inbox:
    """`data` may begin with bytes that were read already. They are dropped once all are read."""

    __slots__ = ("_position", "data")

    def __init__(self) -> None:
        self.data = b""
        self._position = 0

    def add(self, data: bytes) -> None:
        self.data = self.take_all() + data if self.data else data

    def take_all(self) -> bytes:
        rest = self.data[self._position :] if self._position else self.data
        self.data, self._position = b"", 0
        return rest

    def take(self, size: int) -> bytes | memoryview:
        """Return at most `size` bytes."""
        return self._take_until(self._position + size)

    def take_block(self, before: bytes, *, most: int | None = None) -> bytes | memoryview:
        """Return the bytes up to the next empty line: the end of a head or of a chunked body. Return all bytes without one.

        `before` are the last bytes that were taken, in which the empty line may begin. `most` bounds the number of bytes.
        """
        data, start = self.data, self._position
        if before.endswith((b"\n", b"\n\r")):
            rest = data[start : start + 2]
            if rest[:1] == b"\n" or (rest == b"\r\n" and before.endswith(b"\n")):
                return self._take_until(start + rest.index(b"\n") + 1)
        end = data.find(_HEAD_END, start)
        end = len(data) if end < 0 else end + len(_HEAD_END)
        bare = data.find(_BARE_HEAD_END, start, end)
        if bare >= 0:
            end = bare + len(_BARE_HEAD_END)
        return self._take_until(end if most is None else min(end, start + most))

    def _take_until(self, end: int) -> bytes | memoryview:
        data, start = self.data, self._position
        if end >= len(data):
            self.data, self._position = b"", 0
            return memoryview(data)[start:] if start else data
        self._position = end
        return memoryview(data)[start:end]

"""Received bytes of a client that the parser has not read yet."""

from __future__ import annotations

_HEAD_END = b"\r\n\r\n"


class Inbox:
    """`data` may begin with bytes that were read already. They are dropped once all are read."""

    __slots__ = ("_position", "data")

    def __init__(self) -> None:
        self.data = b""
        self._position = 0

    def add(self, data: bytes) -> None:
        self.data = self.take_all() + data if self.data else data

    def put_back(self, data: bytes) -> None:
        self.data = data + self.take_all()

    def take_all(self) -> bytes:
        rest = self.data[self._position :] if self._position else self.data
        self.data, self._position = b"", 0
        return rest

    def take(self, size: int | None) -> bytes | memoryview:
        """Return at most `size` bytes. With None: up to the end of the next head, or everything without one."""
        data, start = self.data, self._position
        if size is None:
            end = data.find(_HEAD_END, start)
            end = len(data) if end < 0 else end + len(_HEAD_END)
        else:
            end = start + size
        if end >= len(data):
            self.data, self._position = b"", 0
            return memoryview(data)[start:] if start else data
        self._position = end
        return memoryview(data)[start:end]

"""What has come from a client and was not read."""

from __future__ import annotations

_HEAD_END = b"\r\n\r\n"


class Inbox:
    """`data` is what came; its beginning may have been read, and stays until all of it is."""

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

    def take_head(self) -> bytes | memoryview:
        """Return what ends with the next end of a head; all of it if there is none."""
        end = self.data.find(_HEAD_END, self._position)
        return self._take_to(len(self.data) if end < 0 else end + len(_HEAD_END))

    def take(self, size: int) -> bytes | memoryview:
        return self._take_to(self._position + size)

    def _take_to(self, end: int) -> bytes | memoryview:
        data, start = self.data, self._position
        if end >= len(data):
            self.data, self._position = b"", 0
            return memoryview(data)[start:] if start else data
        self._position = end
        return memoryview(data)[start:end]

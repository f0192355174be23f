"""How much of a message is read before it is refused: the quotas of AWS, and bounds where AWS documents none.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html#http-headers-quotas
"""

from __future__ import annotations

REQUEST_LINE = 16 * 1024
HEADER = 16 * 1024  # name, value, and what stands between and behind them
REQUEST_HEAD = 64 * 1024
ANSWER_HEAD = 32 * 1024  # with the interim answers before it

# AWS documents none of these:
HEADERS = 1000  # of a message: the shortest ones take fifty times their length in memory
SILENCE = 32 * 1024  # bytes without the end of a header, a chunk's size or anything else


class Trailers:
    """The headers behind a body, which are read to be dropped: as many and as much as may stand before one."""

    __slots__ = ("_number", "_size")

    def __init__(self) -> None:
        self._number = self._size = 0

    def add(self, name: bytes, value: bytes) -> bool:
        """Whether one more is still acceptable."""
        size = len(name) + len(value) + 4
        self._number += 1
        self._size += size
        return size <= HEADER and self._size <= REQUEST_HEAD and self._number <= HEADERS


class Silence:
    """Counts the bytes that a parser takes without a word: it keeps the beginning of a line until the line ends.

    `is_broken` is set by whatever the parser calls.
    """

    __slots__ = ("_bytes", "is_broken")

    def __init__(self) -> None:
        self._bytes = 0
        self.is_broken = False

    def is_too_long(self, fed: int) -> bool:
        """Count a piece that the parser was fed."""
        self._bytes = 0 if self.is_broken else self._bytes + fed
        self.is_broken = False
        return self._bytes > SILENCE

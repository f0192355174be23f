"""Reads the body of an HTTP/1.1 request, up to a limit.

https://www.rfc-editor.org/rfc/rfc9112#section-6
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.message import Message
from typing import IO, Protocol

_PIECE = 1024 * 1024
_LONGEST_LINE = 8192
_MOST_TRAILERS = 100
_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r?\n")


class MalformedBodyError(ValueError):
    """The body of a request does not follow HTTP."""


class TooLargeError(Exception):
    """The body exceeds the limit."""


class ByteSource(Protocol):
    def read1(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


class RequestBody:
    """The body of a request, as its head frames it. `length` is the stated length; None if the body is chunked.

    Raise MalformedBodyError for a head with invalid or contradictory framing.
    """

    def __init__(self, headers: Message) -> None:
        encodings = _values(headers, "Transfer-Encoding")
        lengths = _values(headers, "Content-Length")
        if encodings and (lengths or [encoding.lower() for encoding in encodings] != ["chunked"]):
            raise MalformedBodyError(f"invalid Transfer-Encoding: {', '.join(encodings)[:64]}")
        if len(set(lengths)) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
            raise MalformedBodyError(f"invalid Content-Length: {', '.join(lengths)[:64]}")
        self.length = None if encodings else int(lengths[0]) if lengths else 0

    def copy(
        self,
        *,
        source: ByteSource,
        target: IO[bytes],
        most: int | None,
        on_data: Callable[[], None] = lambda: None,
    ) -> None:
        """Copy the whole body, so that the connection is positioned at the next request.

        Call `on_data` for each piece. Raise TooLargeError instead of copying more than `most` bytes (None: no limit),
        MalformedBodyError, or ConnectionResetError if the client disconnects.
        """
        if self.length is not None:
            _copy(source=source, target=target, length=self.length, left=most, on_data=on_data)
            return
        left = most
        while length := _chunk_length(source):
            _copy(source=source, target=target, length=length, left=left, on_data=on_data)
            left = None if left is None else left - length
            if source.readline(_LONGEST_LINE).strip(b"\r\n"):
                raise MalformedBodyError("a chunk is longer than its size says")
        _skip_trailers(source)


def _values(headers: Message, name: str) -> list[str]:
    """Return all values of a header, with comma-separated lists split."""
    return [part.strip() for value in headers.get_all(name, []) for part in str(value).split(",")]


def _chunk_length(source: ByteSource) -> int:
    line = source.readline(_LONGEST_LINE)
    if not line:
        raise ConnectionResetError("the client hung up in the middle of a body")
    size = _CHUNK_SIZE.fullmatch(line)
    if size is None:
        raise MalformedBodyError(f"invalid chunk size: {line[:32]!r}")
    return int(size[1], 16)


def _skip_trailers(source: ByteSource) -> None:
    for _ in range(_MOST_TRAILERS):
        line = source.readline(_LONGEST_LINE)
        if not line.strip():
            return
        if not line.endswith(b"\n"):
            break
    raise MalformedBodyError("the trailers have no end")


def _copy(
    *, source: ByteSource, target: IO[bytes], length: int, left: int | None, on_data: Callable[[], None]
) -> None:
    if left is not None and length > left:
        raise TooLargeError
    while length > 0:
        piece = source.read1(min(length, _PIECE))
        if not piece:
            raise ConnectionResetError("the client hung up in the middle of a body")
        on_data()
        target.write(piece)
        length -= len(piece)

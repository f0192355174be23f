"""What passes between a command and its scanner: messages, each behind its length, so that a part of one is none."""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import asdict, dataclass
from typing import Final, Literal

import msgspec

_LENGTH: Final = struct.Struct("!Q")
_MOST: Final = 1 << 30
_PIECE: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to scan: nothing but get ready, the HCL with the variables of a file, or `plan`, the JSON of one.

    `keep` is a folder for what makes the next scanner faster, empty where there is none.
    """

    kind: Literal["load", "hcl", "plan"]
    project: str
    variables_file: str = ""
    plan: str = ""
    keep: str = ""

    def to_json(self) -> bytes:
        # Not msgspec's: a path may hold bytes that are not UTF-8, which are surrogates in a str.
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Request:
        return msgspec.convert(json.loads(data), cls)


def send(channel: socket.socket, message: bytes, *, seconds: float | None = None) -> None:
    """Send a whole message; raise TimeoutError where the other side does not take it within `seconds`."""
    channel.settimeout(seconds)
    channel.sendall(_LENGTH.pack(len(message)) + message)


def receive(channel: socket.socket, *, seconds: float | None = None) -> bytes:
    """Return the next message; raise EOFError where there is no whole one any more, TimeoutError after `seconds`."""
    until = None if seconds is None else time.monotonic() + seconds
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size, until=until))
    if length > _MOST:
        raise EOFError
    return _exactly(channel, length, until=until)


def _exactly(channel: socket.socket, count: int, *, until: float | None) -> bytes:
    data = bytearray()
    while len(data) < count:
        if until is not None:
            channel.settimeout(max(until - time.monotonic(), 0.001))
        piece = channel.recv(min(count - len(data), _PIECE))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)

"""The protocol between a command and its scanner: length-prefixed messages, so that a truncated message is detected."""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import asdict, dataclass
from typing import Final, Literal

import msgspec

_LENGTH: Final = struct.Struct("!Q")
_MAX_LENGTH: Final = 1 << 30
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """A scan request: `load` only prepares, `hcl` scans the HCL with a variables file, `plan` scans the JSON in `plan`.

    The folder `cache` speeds up the next scanner; "" for none.
    """

    kind: Literal["load", "hcl", "plan"]
    project: str
    variables_file: str = ""
    plan: str = ""
    cache: str = ""

    def to_json(self) -> bytes:
        # msgspec cannot encode it: a path may contain bytes that are not UTF-8, which are surrogates in a str.
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> ScanRequest:
        return msgspec.convert(json.loads(data), cls)


def send(channel: socket.socket, message: bytes, *, seconds: float | None = None) -> None:
    """Send a whole message. Raise TimeoutError if the receiver does not take it within `seconds`."""
    channel.settimeout(seconds)
    channel.sendall(_LENGTH.pack(len(message)) + message)


def receive(channel: socket.socket, *, seconds: float | None = None) -> bytes:
    """Return the next message. Raise EOFError if the channel closes before it is complete, TimeoutError after `seconds`."""
    until = None if seconds is None else time.monotonic() + seconds
    (length,) = _LENGTH.unpack(_receive_exactly(channel, _LENGTH.size, until=until))
    if length > _MAX_LENGTH:
        raise EOFError
    return _receive_exactly(channel, length, until=until)


def _receive_exactly(channel: socket.socket, count: int, *, until: float | None) -> bytes:
    data = bytearray()
    while len(data) < count:
        if until is not None:
            channel.settimeout(max(until - time.monotonic(), 0.001))
        piece = channel.recv(min(count - len(data), _CHUNK))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)

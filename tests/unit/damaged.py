"""Damaged contents that a bucket may have instead of the written ones."""

from __future__ import annotations

DAMAGED = {
    "empty": b"",
    "blank": b" \n",
    "HTML": b"<html><body>503</body></html>",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "cut off": b'{"version": 1, "at": "2026',
    "no text": b"\xff\xfe\x00",
    "an object of nothing": b"{}",
    "too deep": b'{"a":' * 100_000,
    "too large": b" " * (1 << 26) + b"{}",
}

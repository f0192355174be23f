"""Parse the values of arguments. Each function returns a value or raises ArgumentTypeError."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from ipaddress import IPv4Address

from mclass_tf import strategy

_HIGHEST_PORT = 65535


def stage(text: str) -> str:
    try:
        return strategy.pause_stage(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def port(text: str) -> int:
    if not text.isdigit() or int(text) > _HIGHEST_PORT:
        raise ArgumentTypeError(f"{text!r} is not a port: 0 to {_HIGHEST_PORT}")
    return int(text)


def speed(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None


def address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not an IPv4 address, such as 203.0.113.25") from None


def release(text: str) -> str:
    if text.startswith("sha256:"):
        return digest(text)
    if not re.fullmatch(r"(arn:\S+/)?[A-Za-z0-9_-]+:\d+", text):
        raise ArgumentTypeError(f"{text!r} is neither a digest, sha256:…, nor FAMILY:REVISION")
    return text


def tag(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", text):
        raise ArgumentTypeError(f"{text!r} is not a tag: letters, digits and . _ -, at most 128")
    return text


def digest(text: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise ArgumentTypeError(f"{text!r} is not a digest: sha256: and 64 hexadecimal digits")
    return text

"""Sticky sessions: the cookies that bind a client to a target, or to a target group of a weighted rule.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/sticky-sessions.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from email.utils import formatdate

TARGET, APPLICATION, GROUP = b"AWSALB", b"AWSALBAPP", b"AWSALBTG"
APPLICATION_SECONDS = 7 * 86400  # not configurable
_KEY = secrets.token_bytes(
    32
)  # AWS rotates its own: a cookie of another process is one that cannot be decoded
_SIGNATURE = 16


def seal(*words: str, seconds: int) -> bytes:
    """Return a cookie's value that says `words` for so many seconds."""
    text = "|".join((str(int(time.time()) + seconds), *words)).encode()
    return base64.b64encode(_sign(text) + text)


def unseal(value: bytes) -> tuple[str, ...]:
    """Return what `seal` was given; nothing where it is not ours, or too old."""
    try:
        found = base64.b64decode(value, validate=True)
    except binascii.Error:
        return ()
    signature, text = found[:_SIGNATURE], found[_SIGNATURE:]
    if not hmac.compare_digest(signature, _sign(text)):
        return ()
    until, *words = text.decode().split("|")
    return tuple(words) if int(until) >= time.time() else ()


def cookie(cookies: bytes, name: bytes) -> bytes:
    """Return the value of the cookie of that name in a Cookie header."""
    for pair in cookies.split(b";"):
        key, _, value = pair.strip().partition(b"=")
        if key == name:
            return value
    return b""


def set_cookies(name: bytes, value: bytes, *, seconds: int, is_secure: bool) -> bytes:
    """Return the header lines: the cookie, and its twin for requests from other origins."""
    until = formatdate(time.time() + seconds, usegmt=True).encode()
    twin = b"; SameSite=None; Secure" if is_secure else b"; SameSite=None"
    line = b"Set-Cookie: %b=%b; Expires=%b; Path=/"
    return b"%b\r\n%b%b\r\n" % (
        line % (name, value, until),
        line % (name + b"CORS", value, until),
        twin,
    )


def _sign(text: bytes) -> bytes:
    return hmac.digest(_KEY, text, hashlib.sha256)[:_SIGNATURE]

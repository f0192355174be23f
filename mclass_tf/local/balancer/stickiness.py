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

from mclass_tf.local.balancer.groups import GroupState, TargetState
from mclass_tf.local.balancer.messages.target_answer import TargetAnswer
from mclass_tf.local.balancer.rules import Forward

_TARGET, _APPLICATION, _GROUP = b"AWSALB", b"AWSALBAPP", b"AWSALBTG"
_APPLICATION_SECONDS = 7 * 86400  # not configurable
_KEY = secrets.token_bytes(32)  # AWS rotates its key, too: cookies of another process cannot be decoded
_SIGNATURE = 16


def sticky_group(action: Forward, cookies: bytes) -> GroupState | None:
    """Return the target group that the cookies bind their client to; None without one that still gets traffic."""
    if not action.sticky_seconds:
        return None
    words = _unseal(_cookie(cookies, _GROUP))
    return action.find(words[0]) if words else None


def sticky_target(group: GroupState, cookies: bytes) -> TargetState | None:
    """Return the target that the cookies bind their client to; None without one that may get requests."""
    settings = group.settings
    if not settings.is_sticky:
        return None
    is_ours = settings.stickiness_type == "lb_cookie"
    words = _unseal(_cookie(cookies, _TARGET if is_ours else _APPLICATION))
    if not words or words[0] != group.arn:
        return None
    if not is_ours and not _cookie(cookies, settings.application_cookie):
        return None
    return group.find(words[1])


def cookie_lines(
    action: Forward, target: TargetState, answer: TargetAnswer, *, cookies: bytes, is_secure: bool
) -> bytes:
    """Return the Set-Cookie lines of an answer. Every answer renews them. `cookies` is the request's Cookie header."""
    group = target.group
    settings, lines = group.settings, b""
    if action.sticky_seconds:
        seconds = action.sticky_seconds
        value = _seal(group.arn, seconds=seconds)
        lines += _set_cookies(_GROUP, value, seconds=seconds, is_secure=is_secure)
    if not settings.is_sticky:
        return lines
    value = _seal(group.arn, target.name, seconds=settings.stickiness_seconds)
    if settings.stickiness_type == "lb_cookie":
        lines += _set_cookies(_TARGET, value, seconds=settings.stickiness_seconds, is_secure=is_secure)
    elif _sets(answer, settings.application_cookie) or _cookie(cookies, _APPLICATION):
        lines += _set_cookies(_APPLICATION, value, seconds=_APPLICATION_SECONDS, is_secure=is_secure)
    return lines


def _seal(*words: str, seconds: int) -> bytes:
    """Return a signed cookie value with `words`, valid for `seconds`."""
    text = "|".join((str(int(time.time()) + seconds), *words)).encode()
    return base64.b64encode(_sign(text) + text)


def _unseal(value: bytes) -> tuple[str, ...]:
    """Return the words of `_seal`; empty if the signature is wrong or the value expired."""
    try:
        sealed = base64.b64decode(value, validate=True)
    except binascii.Error:
        return ()
    signature, text = sealed[:_SIGNATURE], sealed[_SIGNATURE:]
    if not hmac.compare_digest(signature, _sign(text)):
        return ()
    until, *words = text.decode().split("|")
    return tuple(words) if int(until) >= time.time() else ()


def _cookie(cookies: bytes, name: bytes) -> bytes:
    for pair in cookies.split(b";"):
        key, _, value = pair.strip().partition(b"=")
        if key == name:
            return value
    return b""


def _sets(answer: TargetAnswer, name: bytes) -> bool:
    return any(
        lower == b"set-cookie" and value.split(b"=", 1)[0].strip() == name
        for lower, _, value in answer.headers
    )


def _set_cookies(name: bytes, value: bytes, *, seconds: int, is_secure: bool) -> bytes:
    """Return two Set-Cookie lines: the cookie, and its CORS copy for requests from other origins."""
    until = formatdate(time.time() + seconds, usegmt=True).encode()
    cross_site = b"; SameSite=None; Secure" if is_secure else b"; SameSite=None"
    line = b"Set-Cookie: %b=%b; Expires=%b; Path=/"
    return b"%b\r\n%b%b\r\n" % (
        line % (name, value, until),
        line % (name + b"CORS", value, until),
        cross_site,
    )


def _sign(text: bytes) -> bytes:
    return hmac.digest(_KEY, text, hashlib.sha256)[:_SIGNATURE]

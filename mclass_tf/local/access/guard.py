"""Refuses requests of web pages, by their Host and Origin headers.

The server listens on loopback only, but a browser lets a foreign page reach it if the page's name resolves to 127.0.0.1
(DNS rebinding), or if the page posts to that address (Origin).
"""

from __future__ import annotations

import ipaddress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from mclass_tf.local.http.server import Reply


def check(environ: dict[str, Any]) -> Reply | None:
    """Return a 403 for a request of a web page, None for others."""
    host = environ.get("HTTP_HOST", "")
    if host and not is_loopback(host):
        return _forbidden(f"the local AWS answers on loopback names only, not on {host}")
    origin = environ.get("HTTP_ORIGIN", "")
    if origin and not is_loopback(urlsplit(origin).netloc):
        return _forbidden(f"the local AWS does not answer web pages of {origin}")
    return None


def is_loopback(authority: str) -> bool:
    """Return whether `host[:port]` is of this machine: 127.0.0.0/8, ::1, localhost and names below it (RFC 6761)."""
    try:
        name = (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _forbidden(reason: str) -> Reply:
    return Reply(
        status=HTTPStatus.FORBIDDEN,
        headers=(("Content-Type", "text/plain; charset=utf-8"),),
        body=f"{reason}\n".encode(),
    )

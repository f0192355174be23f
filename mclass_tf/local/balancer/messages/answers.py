"""Answers that the load balancer gives itself, with the texts of an Application Load Balancer."""

from __future__ import annotations

import time
from email.utils import formatdate

REASONS = {
    200: "OK",
    301: "Moved Permanently",
    302: "Found",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Time-out",
    414: "Request-URI Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
    505: "HTTP Version Not Supported",
    507: "Insufficient Storage",
}


class _Date:
    """Caches the value of the Date header for one second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = b""

    def now(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True).encode()
        return self._text


_date = _Date()


def page(status: int) -> bytes:
    """Return the HTML page of a status."""
    title = f"{status} {REASONS.get(status, '')}".rstrip()
    lines = (
        "<html>",
        f"<head><title>{title}</title></head>",
        "<body>",
        f"<center><h1>{title}</h1></center>",
        "</body>",
        "</html>",
        "",
    )
    return "\r\n".join(lines).encode()


def compose(
    status: int,
    *,
    body: bytes,
    content_type: str | None,
    keeps_alive: bool,
    is_head: bool = False,
    headers: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """Return an answer with head and body."""
    head = [f"HTTP/1.1 {status} {REASONS.get(status, '')}", "Server: awselb/2.0"]
    head.append(f"Date: {_date.now().decode()}")
    if content_type is not None:
        head.append(f"Content-Type: {content_type}")
    head.append(f"Content-Length: {len(body)}")
    head.append(f"Connection: {'keep-alive' if keeps_alive else 'close'}")
    head += (f"{name}: {value}" for name, value in headers)
    return "\r\n".join((*head, "", "")).encode("latin-1") + (b"" if is_head else body)

"""Builds the heads of requests to targets and of answers to clients."""

from __future__ import annotations

import re
import secrets
from enum import Enum, auto
from typing import NamedTuple

from mclass_tf.local.balancer.completed import ConnectionInfo
from mclass_tf.local.balancer.messages.request import ClientRequest
from mclass_tf.local.balancer.messages.target_answer import SWITCHING, TargetAnswer
from mclass_tf.local.balancer.settings import BalancerSettings

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_REWRITTEN = frozenset(
    (
        b"host",
        b"content-length",
        b"expect",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-port",
        b"x-amzn-trace-id",
    )
)
_NEVER_DROPPED_FROM_REQUEST = frozenset((b"host", b"content-length", b"close"))
_NEVER_DROPPED_FROM_ANSWER = frozenset((b"content-length",))
_VALID_NAME = re.compile(rb"[-A-Za-z0-9]+")
_DEFAULT_PORTS = frozenset((80, 443))


class Framing(Enum):
    """What marks the end of an answer's body."""

    LENGTH = auto()
    CHUNKED = auto()
    CONNECTION = auto()  # its end; the only way of HTTP/1.0 for a body of unknown length


LENGTH, CHUNKED, CONNECTION = Framing.LENGTH, Framing.CHUNKED, Framing.CONNECTION


class RequestHead(NamedTuple):
    """`invalid_headers`: what happened to them, as a metric's name says it; empty if the request had none."""

    data: bytes
    invalid_headers: str


def request_head(
    request: ClientRequest,
    *,
    client_address: bytes,
    forwarded: bytes,
    host: bytes,
    settings: BalancerSettings,
) -> RequestHead:
    """Return the head for the target. `forwarded` are the lines of `connection_headers`, `host` is the value of Host."""
    lines = [
        b"%b %b HTTP/1.1\r\n" % (request.method, request.target),
        _forwarded_for(request, client_address=client_address, mode=settings.forwarded_for),
        forwarded,
        b"Host: %b\r\nX-Amzn-Trace-Id: %b\r\n" % (host, request.trace),
    ]
    has_invalid = request.drops_headers
    dropped = _dropped(request.connection, kept=_NEVER_DROPPED_FROM_REQUEST)
    for lower, name, value in request.headers:
        if lower in _REWRITTEN or lower in dropped:
            continue
        if _VALID_NAME.fullmatch(name) is None:
            has_invalid = True
            if settings.drops_invalid_headers:
                continue
        lines.append(b"%b: %b\r\n" % (name, value))
    if request.is_websocket:
        lines.append(b"Upgrade: websocket\r\nConnection: Upgrade\r\n")
    if request.is_chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif request.length is not None:
        lines.append(b"Content-Length: %d\r\n" % request.length)
    lines.append(b"\r\n")
    is_dropped = settings.drops_invalid_headers or request.drops_headers
    treated = "Dropped" if is_dropped else "Forwarded"
    return RequestHead(data=b"".join(lines), invalid_headers=treated if has_invalid else "")


def connection_headers(connection: ConnectionInfo, *, settings: BalancerSettings) -> bytes:
    """Return the header lines that all requests of a connection share."""
    lines = f"X-Forwarded-Proto: {connection.protocol.lower()}\r\nX-Forwarded-Port: {connection.port}\r\n"
    if connection.is_encrypted and settings.adds_tls_headers:
        lines += f"X-Amzn-Tls-Version: {connection.tls_version}\r\n"
        lines += f"X-Amzn-Tls-Cipher-Suite: {connection.cipher}\r\n"
    return lines.encode()


def client_address(connection: ConnectionInfo, *, settings: BalancerSettings) -> bytes:
    """Return the client's address for X-Forwarded-For."""
    if settings.forwards_client_port:
        return f"{connection.client_ip}:{connection.client_port}".encode()
    return connection.client_ip.encode()


def host(request: ClientRequest, settings: BalancerSettings, *, dns_name: bytes, port: int) -> bytes:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html#host-header-preservation."""
    if request.host is None:  # HTTP/1.0
        return dns_name
    if settings.preserves_host:
        return request.value(b"host")
    if b":" in request.host or port in _DEFAULT_PORTS:
        return request.host
    return b"%b:%d" % (request.host, port)


def trace_id(request: ClientRequest) -> bytes:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-request-tracing.html."""
    own = b"1-%08x-%b" % (int(request.received_at), secrets.token_hex(12).encode())
    fields = [field.strip() for field in request.trace.split(b";") if field.strip()]
    kept = [field for field in fields if not field.startswith(b"Self=")]
    has_root = any(field.startswith(b"Root=") for field in fields)
    return b";".join((b"Self=" + own if has_root else b"Root=" + own, *kept))


def framing(answer: TargetAnswer, request: ClientRequest) -> Framing:
    """Return what marks the end of the body. For HEAD: what would mark it for GET."""
    if answer.content_length is not None or answer.status == SWITCHING:
        return LENGTH
    if not answer.has_body and not (answer.is_chunked and request.is_head):
        return LENGTH
    return CHUNKED if request.version == "1.1" else CONNECTION


def answer_head(answer: TargetAnswer, *, cookies: bytes, framing: Framing, closes: bool) -> bytes:
    """Return the head for the client. `cookies` are the load balancer's own Set-Cookie lines."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason)]
    dropped = _dropped(answer.connection, kept=_NEVER_DROPPED_FROM_ANSWER)
    lines += [b"%b: %b\r\n" % (name, value) for lower, name, value in answer.headers if lower not in dropped]
    lines.append(cookies)
    if framing is CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if answer.status == SWITCHING:
        lines.append(b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    else:
        lines.append(b"Connection: close\r\n\r\n" if closes else b"Connection: keep-alive\r\n\r\n")
    return b"".join(lines)


def _forwarded_for(request: ClientRequest, *, client_address: bytes, mode: str) -> bytes:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html."""
    if mode == "append":
        before = b"%b, " % request.forwarded_for if request.forwarded_for else b""
        return b"X-Forwarded-For: %b%b\r\n" % (before, client_address)
    if mode == "preserve" and request.forwarded_for:
        return b"X-Forwarded-For: %b\r\n" % request.forwarded_for
    return b""


def _dropped(connection: bytes, *, kept: frozenset[bytes]) -> frozenset[bytes]:
    """Return the names of hop-by-hop headers. `connection` is the value of the Connection header."""
    if not connection:
        return _HOP_BY_HOP
    named = (part.strip().lower() for part in connection.split(b","))
    return _HOP_BY_HOP.union(named) - kept

"""Lines of the access log.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html#access-log-entry-format
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mclass_tf.local.balancer.client import ClientConnection
    from mclass_tf.local.balancer.exchange import Exchange

_LONGEST_AGENT = 8 * 1024
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # within quotes: a quote, a backslash, and what is not printable ASCII


def line(client: ClientConnection, exchange: Exchange) -> str:
    """Return the line of a request that is over."""
    request, listener = exchange.request, client.listener
    group, target = exchange.group, exchange.target
    kind = listener.protocol.lower()
    if exchange.is_tunnel:
        kind = "wss" if listener.is_tls else "ws"
    target_name = "-" if target is None or not exchange.sent_at else target.name
    target_status = str(exchange.target_status or "-")
    cipher, version = client.encryption()
    agent = request.value(b"user-agent").decode("latin-1")[:_LONGEST_AGENT] or "-"
    fields = (
        kind,
        _iso(time.time()),
        listener.load_balancer_arn.partition("loadbalancer/")[2],
        f"{client.source}:{client.source_port}",
        target_name,
        *_durations(exchange),
        str(exchange.status or "-"),
        target_status,
        str(request.size + exchange.received),
        str(exchange.sent),
        _quoted(_request_line(exchange, protocol=listener.protocol, port=listener.port)),
        _quoted(agent),
        cipher,
        version,
        "-" if group is None else group.arn,
        _quoted(request.trace.decode("latin-1") or "-"),
        '"-"',  # domain_name
        '"-"',  # chosen_cert_arn
        "-" if exchange.priority is None else str(exchange.priority),
        _iso(request.received_at),
        _quoted(exchange.actions or "-"),
        _quoted(exchange.location or "-"),
        '"-"',  # error_reason: of Lambda functions and authentication
        _quoted(target_name),
        _quoted(target_status),
        _quoted(request.desync.classification if request.desync else "-"),
        _quoted(request.desync.reason if request.desync else "-"),
        f"TID_{client.trace_id}",
    )
    return " ".join(fields)


def _durations(exchange: Exchange) -> tuple[str, str, str]:
    """Return the request, target and response processing times; -1 where it came to nothing."""
    if not exchange.sent_at or not exchange.answered_at:
        return "-1", "-1", "-1"
    now = monotonic()
    times = (
        exchange.sent_at - exchange.request.started,
        exchange.answered_at - exchange.sent_at,
        now - exchange.answered_at,
    )
    request, target, response = (f"{max(seconds, 0):.3f}" for seconds in times)
    return request, target, response


def _request_line(exchange: Exchange, *, protocol: str, port: int) -> str:
    request = exchange.request
    if not request.method:
        return f"- {protocol.lower()}://-:{port}- -"
    host = (request.host or b"-").decode("latin-1").partition(":")[0]
    target = request.target.decode("latin-1").replace('"', "%22")
    return f"{request.method.decode()} {protocol.lower()}://{host}:{port}{target} HTTP/{request.version}"


def _quoted(text: str) -> str:
    """Return a field that ends where it ends, on the line on which it began, whatever a client has sent."""
    escaped = _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02X}", text)
    return f'"{escaped}"'


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

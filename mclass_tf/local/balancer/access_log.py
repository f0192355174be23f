"""Lines of the access log.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html#access-log-entry-format
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from mclass_tf.local.balancer.completed import CompletedRequest

_MAX_AGENT = 8 * 1024
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # quotes, backslashes and everything but printable ASCII


def line(completed: CompletedRequest) -> str:
    request, connection = completed.request, completed.connection
    kind = connection.protocol.lower()
    if completed.is_websocket:
        kind = "wss" if connection.is_encrypted else "ws"
    target = completed.target if completed.target is not None and completed.sent_at else "-"
    target_status = str(completed.target_status or "-")
    agent = request.value(b"user-agent").decode("latin-1")[:_MAX_AGENT] or "-"
    desync = request.desync
    fields = (
        kind,
        _iso(time.time()),
        connection.load_balancer_arn.partition("loadbalancer/")[2],
        f"{connection.client_ip}:{connection.client_port}",
        target,
        *_durations(completed),
        str(completed.status or "-"),
        target_status,
        str(request.size + completed.received),
        str(completed.sent),
        _quoted(_request_line(completed)),
        _quoted(agent),
        connection.cipher,
        connection.tls_version,
        completed.target_group_arn or "-",
        _quoted(request.trace.decode("latin-1") or "-"),
        '"-"',  # domain_name
        '"-"',  # chosen_cert_arn
        "-" if completed.priority is None else str(completed.priority),
        _iso(request.received_at),
        _quoted(completed.action or "-"),
        _quoted(completed.location or "-"),
        '"-"',  # error_reason: only for Lambda functions and authentication
        _quoted(target),
        _quoted(target_status),
        _quoted(desync.classification if desync else "-"),
        _quoted(desync.reason if desync else "-"),
        f"TID_{connection.trace_id}",
    )
    return " ".join(fields)


def _durations(completed: CompletedRequest) -> tuple[str, str, str]:
    """Return the request, target and response processing times; -1 if the target did not answer."""
    if not completed.sent_at or not completed.answered_at:
        return "-1", "-1", "-1"
    times = (
        completed.sent_at - completed.request.started,
        completed.response_time,
        completed.ended_at - completed.answered_at,
    )
    request, target, response = (f"{max(seconds, 0):.3f}" for seconds in times)
    return request, target, response


def _request_line(completed: CompletedRequest) -> str:
    request, port = completed.request, completed.connection.port
    protocol = completed.connection.protocol.lower()
    if not request.method:
        return f"- {protocol}://-:{port}- -"
    host = (request.host or b"-").decode("latin-1").partition(":")[0]
    target = request.target.decode("latin-1").replace('"', "%22")
    return f"{request.method.decode()} {protocol}://{host}:{port}{target} HTTP/{request.version}"


def _quoted(text: str) -> str:
    """Quote a field such that no byte from a client can end the field or its line."""
    escaped = _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02X}", text)
    return f'"{escaped}"'


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

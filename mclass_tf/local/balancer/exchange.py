"""One request's way through the load balancer: rule, target, answer; and what is said when it goes wrong."""

from __future__ import annotations

import asyncio
import secrets
import time
from time import monotonic
from typing import TYPE_CHECKING

from mclass_tf.local.balancer import answers, stickiness
from mclass_tf.local.balancer.groups import Group, TargetState
from mclass_tf.local.balancer.report import Failure
from mclass_tf.local.balancer.request import HOP_BY_HOP, Request
from mclass_tf.local.balancer.rules import FixedResponse, Forward, Redirect, match
from mclass_tf.local.balancer.settings import CONNECT_TIMEOUT
from mclass_tf.local.balancer.target import Answer, TargetConnection

if TYPE_CHECKING:
    from mclass_tf.local.balancer.client import ClientConnection

_AT_ONCE, _LONG_IDLE = 0.02, 0.5  # seconds
_LONGEST_LOCATION = 8 * 1024
_SWITCHING = 101
_TOLD = 2048  # bytes of a path in a report
_HELD = 64 * 1024  # bytes of a request's body that wait for a connection to the target


class Exchange:
    """Lives from the request's head to the end of the answer.

    No request is sent twice: what has reached a target may have had its effect there.
    """

    __slots__ = (
        "actions",
        "answered_at",
        "client",
        "connecting",
        "connection",
        "ends_with_connection",
        "failure",
        "forward",
        "group",
        "held",
        "held_bytes",
        "is_begun",
        "is_over",
        "is_tunnel",
        "location",
        "priority",
        "received",
        "refusal",
        "request",
        "request_is_sent",
        "request_is_whole",
        "sent",
        "sent_at",
        "status",
        "target",
        "target_status",
        "to_client_chunked",
    )

    def __init__(self, client: ClientConnection, request: Request, *, refusal: int | None = None) -> None:
        self.client = client
        self.request = request
        self.refusal = refusal
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.connection: TargetConnection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.forward: Forward | None = None
        self.group: Group | None = None
        self.target: TargetState | None = None
        self.is_begun = self.is_over = self.is_tunnel = False
        self.request_is_whole = refusal is not None
        self.request_is_sent = False
        self.to_client_chunked = self.ends_with_connection = False
        self.status = self.target_status = 0
        self.sent_at = self.answered_at = 0.0
        self.sent = self.received = 0
        self.priority: int | None = None
        self.actions = self.location = self.failure = ""

    @property
    def is_head(self) -> bool:
        return self.request.method == b"HEAD"

    @property
    def keeps_target(self) -> bool:
        """Whether the connection to the target may wait for another request."""
        assert self.target is not None  # noqa: S101
        return self.request.keeps_target and len(self.target.idle) < self.client.listener.capacity.idle

    @property
    def may_begin(self) -> bool:
        """A request without a body begins when it is whole, another one with its head."""
        return self.request_is_whole or self.request.has_body

    # The way in

    def begin(self) -> None:
        """The requests before it on the connection are answered: it is its turn."""
        self.is_begun = True
        if self.refusal is not None:
            self._answer_error(self.refusal)
            return
        listener = self.client.listener
        rule = match(listener.rules, self.request, self.client.source)
        self.priority = rule.priority
        action = rule.action
        if isinstance(action, Forward):
            self.actions = "forward"
            self._forward(action)
        elif isinstance(action, Redirect):
            self._redirect(action)
        elif isinstance(action, FixedResponse):
            self._answer_fixed(action)
        else:
            self._answer_error(500)

    def request_body(self, data: bytes) -> None:
        self.received += len(data)
        if self.is_over:
            return  # answered already: the rest of the request is of no use
        self.held.append(data)
        self.held_bytes += len(data)
        if self.connection is None and self.held_bytes > _HELD:
            self.client.hold("target")

    def request_ended(self) -> None:
        self.request_is_whole = True

    def forward_body(self) -> None:
        """Send the target what has come of the body so far."""
        connection = self.connection
        if connection is None or self.is_over:
            return
        if not self.request_is_sent:
            body = self._take_held()
            if body:
                connection.write(body)
            self.request_is_sent = self.request_is_whole

    def _take_held(self) -> bytes:
        """Return what has come of the body and was not sent, as it goes to the target: small chunks become one."""
        is_chunked, body = self.request.is_chunked, b""
        if self.held:
            body = b"".join(self.held)
            self.held.clear()
            self.held_bytes = 0
        if not is_chunked:
            return body
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return chunk + b"0\r\n\r\n" if self.request_is_whole else chunk

    def tunnel(self, data: bytes) -> None:
        if self.connection is not None:
            self.connection.write(data)

    def refuse(self, status: int) -> None:
        """What follows the head is not to be understood."""
        self.request.keeps_alive = False
        if self.is_over:
            self.client.closes = True
            self.client.ended(self)
        elif self.status:
            self._break_off("")
        elif self.is_begun:
            self._fail(status, "")
        else:
            self.refusal, self.request_is_whole = status, True

    # What becomes of the client

    def client_gone(self) -> None:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-460-issues."""
        if self.is_over or not self.is_begun:
            return
        if not self.status:  # else the target has answered, and its status stays
            self.status = 460 if self.request_is_whole else 400
            self._count_own(self.status)
        self._end()

    def idle(self) -> None:
        """Nothing has moved for the idle timeout."""
        if self.is_over:  # answered, and the rest of the request does not come
            self.client.closes = True
            self.client.ended(self)
        elif self.status or self.is_tunnel:
            self._break_off("idle_timeout")
        elif not self.request_is_whole:
            self._fail(408, "")
        else:
            self._fail(504, "idle_timeout")

    def client_is_slow(self) -> None:
        if self.connection is not None:
            self.connection.pause_reading()

    def client_keeps_up(self) -> None:
        if self.connection is not None:
            self.connection.resume_reading()

    # What becomes of the target

    def heard_from_target(self) -> None:
        client = self.client
        client.touched = monotonic()

    def target_is_slow(self) -> None:
        self.client.hold("target")

    def target_keeps_up(self) -> None:
        self.client.release("target")

    def answer_head(self, answer: Answer) -> None:
        client = self.client
        self.answered_at = monotonic()
        self.status = self.target_status = answer.status
        counts = client.counts(self.group)
        counts.response_times.append(self.answered_at - self.sent_at)
        self.is_tunnel = answer.status == _SWITCHING
        if self.is_tunnel:
            client.closes = True
        else:
            counts.counts[f"HTTPCode_Target_{answer.status // 100}XX_Count"] += 1
        self._send(self._head(answer))
        if self.is_tunnel:
            client.upgraded()

    def answer_body(self, data: bytes) -> None:
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self.to_client_chunked else data)

    def answer_ended(self) -> None:
        if self.to_client_chunked:
            self._send(b"0\r\n\r\n")
        self._end()

    def flush(self) -> None:
        self.client.flush()

    def _send(self, data: bytes) -> None:
        self.sent += len(data)
        self.client.send(data)

    def answer_is_malformed(self) -> None:
        self._lose("malformed_response")

    def target_lost(self) -> None:
        """The connection ended before the answer did.

        At once, after it had been idle for long: then the target's keep-alive had just run out.
        """
        connection = self.connection
        was_idle = (
            connection is not None
            and connection.served > 0
            and connection.idle_seconds > _LONG_IDLE
            and monotonic() - self.sent_at < _AT_ONCE
        )
        self._lose("closed_while_idle" if was_idle else "closed_in_flight")

    def target_gone(self) -> None:
        """Its deregistration delay is over: nothing more is waited for.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-502-issues
        """
        self._lose("deregistration_delay")
        self.client.flush()

    # Its own business

    def _forward(self, action: Forward) -> None:
        self.forward = action
        group = self._sticky_group(action) or action.choose()
        target = None if group is None else self._sticky_target(group) or group.choose()
        self.group = group
        if group is None or target is None:
            self._fail(503, "no_targets")
            return
        self.target = target
        self.client.count_request(group)
        target.exchanges.add(self)
        if self.request.expects_continue and not self.request_is_whole:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if target.idle:
            self._send_on(target.idle.pop())
        else:
            self.connecting = self.client.loop.create_task(self._connect(target))

    async def _connect(self, target: TargetState) -> None:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-504-issues."""
        client = self.client
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                if target.address is None:  # nobody answers, not even with a refusal
                    await asyncio.Event().wait()
                    return
                _, connection = await client.loop.create_connection(
                    lambda: TargetConnection(target, idle_timeout=client.settings.idle_timeout),
                    *target.address,
                    ssl=target.group.tls,
                )
        except TimeoutError:
            self.connecting = None
            client.counts(self.group).counts["TargetConnectionErrorCount"] += 1
            self._fail(504, "connection_timeout")
        except OSError:
            self.connecting = None
            client.counts(self.group).counts["TargetConnectionErrorCount"] += 1
            self._fail(502, "connection_refused")
        else:
            self.connecting = None
            if self.is_over:
                connection.close()
                return
            client.counts(None).counts["NewConnectionCount"] += 1
            self._send_on(connection)
            client.release("target")
        client.flush()

    def _send_on(self, connection: TargetConnection) -> None:
        client = self.client
        self.connection = connection
        self.sent_at = monotonic()
        connection.start(self)
        connection.write(self._request_head() + self._take_held())
        if client.is_slow:
            connection.pause_reading()
        self.request_is_sent = self.request_is_whole

    def _request_head(self) -> bytes:
        client, request = self.client, self.request
        settings = client.settings
        lines = [b"%b %b HTTP/1.1\r\n" % (request.method, request.target)]
        lines += self._forwarded_headers()
        lines += request.lines(drops_invalid=settings.drops_invalid_headers)
        if request.has_invalid_headers:
            dropped = "Dropped" if settings.drops_invalid_headers else "Forwarded"
            client.counts(None).counts[f"{dropped}InvalidHeaderRequestCount"] += 1
        if request.is_websocket:
            lines.append(b"Upgrade: websocket\r\nConnection: Upgrade\r\n")
        if request.is_chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        elif request.length is not None:
            lines.append(b"Content-Length: %d\r\n" % request.length)
        lines.append(b"\r\n")
        return b"".join(lines)

    def _forwarded_headers(self) -> list[bytes]:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html."""
        client, request = self.client, self.request
        settings = client.settings
        forwarded_for = b""
        if settings.forwarded_for == "append":
            before = b"%b, " % request.forwarded_for if request.forwarded_for else b""
            forwarded_for = b"X-Forwarded-For: %b%b\r\n" % (before, client.forwarded_for)
        elif settings.forwarded_for == "preserve" and request.forwarded_for:
            forwarded_for = b"X-Forwarded-For: %b\r\n" % request.forwarded_for
        return [forwarded_for, client.forwarded, self._host_line(), self._trace_line()]

    def _host_line(self) -> bytes:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html#host-header-preservation."""
        client, host = self.client, self.request.host
        if host is None:  # HTTP/1.0
            return b"Host: %b\r\n" % client.listener.dns_name
        if client.settings.preserves_host:
            return b"Host: %b\r\n" % self.request.value(b"host")
        port = client.listener.port
        if b":" in host or port in {80, 443}:
            return b"Host: %b\r\n" % host
        return b"Host: %b:%d\r\n" % (host, port)

    def _trace_line(self) -> bytes:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-request-tracing.html."""
        request = self.request
        made = b"1-%08x-%b" % (int(request.received_at), secrets.token_hex(12).encode())
        fields = [field.strip() for field in request.trace.split(b";") if field.strip()]
        if any(field.startswith(b"Root=") for field in fields):
            kept = [field for field in fields if not field.startswith(b"Self=")]
            request.trace = b";".join((b"Self=" + made, *kept))
        else:
            kept = [field for field in fields if not field.startswith(b"Self=")]
            request.trace = b";".join((b"Root=" + made, *kept))
        return b"X-Amzn-Trace-Id: %b\r\n" % request.trace

    def _head(self, answer: Answer) -> bytes:
        """Return the head of the answer for the client."""
        client, request = self.client, self.request
        lines = [b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason)]
        dropped = _dropped(answer)
        lines += [
            b"%b: %b\r\n" % (name, value) for lower, name, value in answer.headers if lower not in dropped
        ]
        if self.forward is not None and (self.forward.sticky_seconds or self.target_is_sticky):
            lines.append(self._cookies(answer))
        if self.is_tunnel:
            lines.append(b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            return b"".join(lines)
        if answer.content_length is None and (answer.has_body or (answer.is_chunked and self.is_head)):
            if request.version == "1.1":
                self.to_client_chunked = answer.has_body
                lines.append(b"Transfer-Encoding: chunked\r\n")
            else:
                client.closes = self.ends_with_connection = True  # HTTP/1.0 knows no other end of such a body
        if not request.keeps_alive or client.is_too_old():
            client.closes = True
        lines.append(b"Connection: close\r\n\r\n" if client.closes else b"Connection: keep-alive\r\n\r\n")
        return b"".join(lines)

    # Stickiness

    @property
    def target_is_sticky(self) -> bool:
        return self.group is not None and self.group.settings.is_sticky

    def _sticky_group(self, action: Forward) -> Group | None:
        if not action.sticky_seconds:
            return None
        words = stickiness.unseal(stickiness.cookie(self.request.cookies, stickiness.GROUP))
        return action.find(words[0]) if words else None

    def _sticky_target(self, group: Group) -> TargetState | None:
        settings = group.settings
        if not settings.is_sticky:
            return None
        is_ours = settings.stickiness_type == "lb_cookie"
        name = stickiness.TARGET if is_ours else stickiness.APPLICATION
        words = stickiness.unseal(stickiness.cookie(self.request.cookies, name))
        if (
            words
            and words[0] == group.arn
            and (is_ours or stickiness.cookie(self.request.cookies, settings.application_cookie))
        ):
            found = group.find(words[1])
            if found is not None:
                return found
        self.client.counts(group).counts["NonStickyRequestCount"] += 1
        return None

    def _cookies(self, answer: Answer) -> bytes:
        """Return the Set-Cookie lines; every answer renews them."""
        assert self.group is not None  # noqa: S101
        assert self.forward is not None  # noqa: S101
        assert self.target is not None  # noqa: S101
        is_secure = self.client.listener.is_tls
        settings, lines = self.group.settings, b""
        if self.forward.sticky_seconds:
            seconds = self.forward.sticky_seconds
            value = stickiness.seal(self.group.arn, seconds=seconds)
            lines += stickiness.set_cookies(stickiness.GROUP, value, seconds=seconds, is_secure=is_secure)
        if settings.is_sticky and settings.stickiness_type == "lb_cookie":
            seconds = settings.stickiness_seconds
            value = stickiness.seal(self.group.arn, self.target.name, seconds=seconds)
            lines += stickiness.set_cookies(stickiness.TARGET, value, seconds=seconds, is_secure=is_secure)
        elif settings.is_sticky and self._has_application_cookie(answer):
            value = stickiness.seal(self.group.arn, self.target.name, seconds=settings.stickiness_seconds)
            lines += stickiness.set_cookies(
                stickiness.APPLICATION,
                value,
                seconds=stickiness.APPLICATION_SECONDS,
                is_secure=is_secure,
            )
        return lines

    def _has_application_cookie(self, answer: Answer) -> bool:
        assert self.group is not None  # noqa: S101
        name = self.group.settings.application_cookie
        sets = any(
            lower == b"set-cookie" and value.split(b"=", 1)[0].strip() == name
            for lower, _, value in answer.headers
        )
        return sets or bool(stickiness.cookie(self.request.cookies, stickiness.APPLICATION))

    # Answers of the load balancer's own

    def _redirect(self, action: Redirect) -> None:
        self.actions = "redirect"
        listener = self.client.listener
        self.location = action.location(self.request, protocol=listener.protocol, port=str(listener.port))
        if len(self.location) > _LONGEST_LOCATION:
            self.client.counts(None).counts["HTTP_Redirect_Url_Limit_Exceeded_Count"] += 1
            self._answer_error(507)
            return
        self.client.counts(None).counts["HTTP_Redirect_Count"] += 1
        self._answer_own(
            action.status,
            body=answers.page(action.status),
            content_type="text/html",
            headers=(("Location", self.location),),
        )

    def _answer_fixed(self, action: FixedResponse) -> None:
        self.actions = "fixed-response"
        self.client.counts(None).counts["HTTP_Fixed_Response_Count"] += 1
        self._answer_own(action.status, body=action.body, content_type=action.content_type)

    def _answer_error(self, status: int) -> None:
        if self.refusal is not None:
            self.client.closes = True
        self._answer_own(status, body=answers.page(status), content_type="text/html")

    def _answer_own(
        self,
        status: int,
        *,
        body: bytes,
        content_type: str | None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        client = self.client
        self.status = status
        if not self.request.keeps_alive or client.is_too_old():
            client.closes = True
        self._count_own(status)
        self._send(
            answers.compose(
                status,
                body=body,
                content_type=content_type,
                keeps_alive=not client.closes,
                is_head=self.is_head,
                headers=headers,
            )
        )
        self._end()

    # Failures

    def _lose(self, reason: str) -> None:
        if self.is_over:
            return
        if self.status:
            self._break_off(reason)
        else:
            self._fail(502, reason)

    def _fail(self, status: int, reason: str) -> None:
        """Answer with an error, since nothing of an answer has been sent yet."""
        if reason:
            self._report(status, reason)
        if not self.request_is_whole:
            self.client.closes = True
        self._answer_error(status)

    def _break_off(self, reason: str) -> None:
        """Close the client's connection, which is the only way to say that the answer is not whole."""
        if reason and not self.is_tunnel:
            self._report(self.status, reason)
        self.client.closes = True
        self.client.is_broken = self.ends_with_connection
        self._end()

    def _report(self, status: int, reason: str) -> None:
        client, target, request = self.client, self.target, self.request
        self.failure = reason
        since = self.sent_at or monotonic()
        client.telemetry.send(
            Failure(
                at=time.time(),
                load_balancer_arn=client.listener.load_balancer_arn,
                target_group_arn=None if self.group is None else self.group.arn,
                target=None if target is None else target.name,
                target_is_draining=target is not None and (target.is_draining or target.is_gone),
                status=status,
                reason=reason,
                method=request.method.decode("latin-1"),
                path=request.path[:_TOLD].decode("latin-1"),
                in_flight_seconds=monotonic() - since,
            )
        )

    def _count_own(self, status: int) -> None:
        counts = self.client.counts(None).counts
        if status >= 300:  # noqa: PLR2004
            counts[f"HTTPCode_ELB_{status // 100}XX_Count"] += 1
        if status in {500, 502, 503, 504}:
            counts[f"HTTPCode_ELB_{status}_Count"] += 1

    def _end(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        self.held.clear()
        if self.connecting is not None:
            self.connecting.cancel()
        if self.target is not None:
            self.target.exchanges.discard(self)
        connection, self.connection = self.connection, None
        if connection is not None and connection.exchange is self:
            connection.close()
        self.client.ended(self)


def _dropped(answer: Answer) -> frozenset[bytes]:
    """Return the names of the headers that concern the target's connection alone."""
    if not answer.connection:
        return HOP_BY_HOP
    named = (part.strip().lower() for part in answer.connection.split(b","))
    return HOP_BY_HOP.union(named) - {b"content-length"}

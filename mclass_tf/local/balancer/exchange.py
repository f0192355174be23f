"""Takes one request through the load balancer: rule, target and answer, or an error."""

from __future__ import annotations

import asyncio
from time import monotonic

from mclass_tf.local.balancer import headers, stickiness
from mclass_tf.local.balancer.groups import GroupState, TargetState
from mclass_tf.local.balancer.listener_state import ListenerState
from mclass_tf.local.balancer.messages import answers
from mclass_tf.local.balancer.messages.request import ClientRequest
from mclass_tf.local.balancer.messages.target_answer import SWITCHING, TargetAnswer
from mclass_tf.local.balancer.phases import ExchangePhase, RequestPhase, TransitionTo
from mclass_tf.local.balancer.protocols import ExchangeClient, PooledConnection
from mclass_tf.local.balancer.record import ExchangeRecord
from mclass_tf.local.balancer.request_sender import RequestSender
from mclass_tf.local.balancer.rules import FixedResponse, Forward, Redirect, match
from mclass_tf.local.balancer.target.connection import connect

_MAX_LOCATION = 8 * 1024
_MAX_UNSENT = 64 * 1024  # bytes of a request's body to buffer until the target is connected
_RECEIVING, _SENT = RequestPhase.RECEIVING, RequestPhase.SENT
_QUEUED, _PENDING = ExchangePhase.QUEUED, ExchangePhase.PENDING
_TUNNEL, _OVER = ExchangePhase.TUNNEL, ExchangePhase.OVER
_TO_ANSWERING = TransitionTo(ExchangePhase.ANSWERING)
_TO_OVER = TransitionTo(ExchangePhase.OVER)
_TO_PENDING = TransitionTo(ExchangePhase.PENDING)
_TO_TUNNEL = TransitionTo(ExchangePhase.TUNNEL)


class Exchange:
    """One request and its answer, from the request's head to the end of the answer.

    No request is sent twice: once it reached a target, it may have taken effect.
    """

    __slots__ = (
        "_action",
        "_connecting",
        "_framing",
        "_listener",
        "_refusal",
        "client",
        "phase",
        "record",
        "request",
        "sender",
    )

    def __init__(
        self,
        client: ExchangeClient,
        listener: ListenerState,
        request: ClientRequest,
        *,
        refusal: int | None = None,
    ) -> None:
        self.client = client
        self.request = request
        self.sender = RequestSender(is_chunked=request.is_chunked, is_received=refusal is not None)
        self.record = ExchangeRecord()
        self.phase = _QUEUED
        self._listener = listener
        self._refusal = refusal
        self._action: Forward | None = None
        self._framing = headers.LENGTH
        self._connecting: asyncio.Task[None] | None = None

    # For the client's connection

    def begin(self) -> None:
        """Start, once all earlier requests on the connection are answered."""
        self.phase = _TO_PENDING[self.phase]
        if self._refusal is not None:
            self._answer(self._refusal)
            return
        request, record, listener = self.request, self.record, self._listener
        rule = match(listener.rules, request, self.client.connection.client_ip)
        record.rule_arn, record.priority = rule.arn, rule.priority
        action = rule.action
        if isinstance(action, Forward):
            record.action = "forward"
            self._forward(action)
        elif isinstance(action, Redirect):
            record.action = "redirect"
            record.location = action.location(request, protocol=listener.protocol, port=str(listener.port))
            if len(record.location) > _MAX_LOCATION:
                self._answer(507)
            else:
                self._answer(action.status, extra=(("Location", record.location),))
        elif isinstance(action, FixedResponse):
            record.action = "fixed-response"
            self._answer(action.status, body=action.body, content_type=action.content_type)
        else:
            self._answer(500)

    def request_body(self, data: bytes) -> None:
        self.record.received += len(data)
        if self.phase is _OVER:
            return  # answered already: the rest of the request is ignored
        self.sender.add(data)
        if self.sender.connection is None and self.sender.waiting > _MAX_UNSENT:
            self.client.hold("target")

    def refuse(self, status: int) -> None:
        """Handle a request that is malformed after its head."""
        self.request.keeps_alive = False
        if self.phase is _QUEUED:
            self._refusal = status
            self.sender.end()
        elif self.phase is _PENDING:
            self._fail(status, "")
        elif self.phase is _OVER:
            self._close_client()
        else:
            self._abort_answer("")

    def client_disconnected(self) -> None:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-460-issues."""
        if self.phase is _QUEUED or self.phase is _OVER:
            return
        if self.phase is _PENDING:  # otherwise the target's status stays
            self.record.status = 400 if self.sender.phase is _RECEIVING else 460
        self._end()

    def idle(self) -> None:
        """Handle the idle timeout."""
        if self.phase is _OVER:  # answered, but the request is still incomplete
            self._close_client()
        elif self.phase is not _PENDING:
            self._abort_answer("idle_timeout")
        elif self.sender.phase is _RECEIVING:
            self._fail(408, "")
        else:
            self._fail(504, "idle_timeout")

    # For the target and its connection

    @property
    def may_keep_connection(self) -> bool:
        target, request = self.record.target, self.request
        assert target is not None  # noqa: S101
        has_room = len(target.idle) < self._listener.capacity.idle
        return self.sender.phase is _SENT and request.keeps_target and has_room

    def answer_head(self, answer: TargetAnswer) -> None:
        client, request, record = self.client, self.request, self.record
        record.answered_at = monotonic()
        record.status = record.target_status = answer.status
        framing = headers.framing(answer, request)
        is_switching = answer.status == SWITCHING
        if is_switching or framing is headers.CONNECTION or not request.keeps_alive or client.is_expired():
            client.close_after_answer()
        head = headers.answer_head(
            answer, cookies=_cookies(self, self._action, answer), framing=framing, closes=client.closes
        )
        self._send(head)
        if is_switching:
            self.phase = _TO_TUNNEL[self.phase]
            self._listener.telemetry.count(record.completed(client.connection, request))
            client.upgraded()
            return
        self.phase = _TO_ANSWERING[self.phase]
        if answer.has_body:
            self._framing = framing

    def answer_body(self, data: bytes) -> None:
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._framing is headers.CHUNKED else data)

    def answer_ended(self) -> None:
        if self._framing is headers.CHUNKED:
            self._send(b"0\r\n\r\n")
        self._end()

    def answer_lost(self, reason: str) -> None:
        if self.phase is _PENDING:
            self._fail(502, reason)
        elif self.phase is not _OVER:
            self._abort_answer(reason)

    def cancel(self) -> None:
        """Handle the end of the target's deregistration delay.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-502-issues
        """
        self.answer_lost("deregistration_delay")
        self.client.flush()

    # Sending the request

    def _forward(self, action: Forward) -> None:
        self._action, record, cookies = action, self.record, self.request.cookies
        group = stickiness.sticky_group(action, cookies) or action.choose()
        target = None if group is None else self._choose_target(group)
        record.group, record.target = group, target
        if target is None:
            self._fail(503, "no_targets")
            return
        target.begin(self)
        if self.request.expects_continue and self.sender.phase is _RECEIVING:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if target.idle:
            self._send_request(target.idle.pop())
        else:
            self._connecting = asyncio.create_task(self._connect(target))

    def _choose_target(self, group: GroupState) -> TargetState | None:
        target = stickiness.sticky_target(group, self.request.cookies)
        if target is not None:
            return target
        if group.settings.is_sticky:
            self._listener.counts(group.arn).counts["NonStickyRequestCount"] += 1
        return group.choose()

    async def _connect(self, target: TargetState) -> None:
        listener = self._listener
        try:
            connection = await connect(target, idle_timeout=listener.settings.idle_timeout)
        except OSError as error:
            self._connecting = None
            listener.counts(target.group.arn).counts["TargetConnectionErrorCount"] += 1
            if isinstance(error, TimeoutError):
                self._fail(504, "connection_timeout")
            else:
                self._fail(502, "connection_refused")
        else:
            self._connecting = None
            if self.phase is _OVER:
                connection.close()
                return
            listener.counts().counts["NewConnectionCount"] += 1
            self._send_request(connection)
            self.client.release("target")
        self.client.flush()

    def _send_request(self, connection: PooledConnection) -> None:
        client, request, listener = self.client, self.request, self._listener
        connection.start(self)
        self.record.sent_at = connection.started
        request.trace = headers.trace_id(request)
        head = headers.request_head(
            request,
            client_address=client.forwarded_for,
            forwarded=client.forwarded,
            host=headers.host(request, listener.settings, dns_name=listener.dns_name, port=listener.port),
            settings=listener.settings,
        )
        if head.invalid_headers:
            listener.counts().counts[f"{head.invalid_headers}InvalidHeaderRequestCount"] += 1
        self.sender.start(connection, head.data)
        if client.is_slow:
            connection.pause_reading()

    # Sending the answer

    def _answer(
        self,
        status: int,
        *,
        body: bytes | None = None,
        content_type: str | None = "text/html",
        extra: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Answer without a target. Without a `body`, send the error page of the status."""
        client, request = self.client, self.request
        self.record.status = status
        if self._refusal is not None or not request.keeps_alive or client.is_expired():
            client.close_after_answer()
        data = answers.compose(
            status,
            body=answers.page(status) if body is None else body,
            content_type=content_type,
            keeps_alive=not client.closes,
            is_head=request.is_head,
            headers=extra,
        )
        self._send(data)
        self._end()

    def _send(self, data: bytes) -> None:
        self.record.sent += len(data)
        self.client.send(data)

    def _fail(self, status: int, reason: str) -> None:
        """Answer with an error. Call it only before any part of an answer was sent."""
        if reason:
            self._report(status, reason)
        if self.sender.phase is _RECEIVING:
            self.client.close_after_answer()
        self._answer(status)

    def _abort_answer(self, reason: str) -> None:
        """Close the client's connection: the only way to signal an incomplete answer."""
        if reason and self.phase is not _TUNNEL:
            self._report(self.record.status, reason)
        if self._framing is headers.CONNECTION:
            self.client.reset_after_answer()
        else:
            self.client.close_after_answer()
        self._end()

    def _close_client(self) -> None:
        self.client.close_after_answer()
        self.client.exchange_ended()

    def _report(self, status: int, reason: str) -> None:
        connection = self.client.connection
        self._listener.telemetry.send(self.record.failure(connection, self.request, status, reason))

    def _end(self) -> None:
        if self.phase is _OVER:
            return
        completed = self.record.completed(self.client.connection, self.request)
        if self.phase is not _TUNNEL:  # otherwise counted when the target switched
            self._listener.telemetry.count(completed)
        self._listener.log(completed)
        self.phase = _TO_OVER[self.phase]
        if self._connecting is not None:
            self._connecting.cancel()
        if self.record.target is not None:
            self.record.target.end(self)
        connection = self.sender.stop()
        if connection is not None and connection.exchange is self:
            connection.close()
        self.client.exchange_ended()


def _cookies(exchange: Exchange, action: Forward | None, answer: TargetAnswer) -> bytes:
    """Return the lines of the load balancer's own cookies."""
    target, cookies = exchange.record.target, exchange.request.cookies
    if action is None or target is None:
        return b""
    if not action.sticky_seconds and not target.group.settings.is_sticky:
        return b""
    is_secure = exchange.client.connection.is_encrypted
    return stickiness.cookie_lines(action, target, answer, cookies=cookies, is_secure=is_secure)

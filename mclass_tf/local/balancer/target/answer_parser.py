"""Parses the answers of a target, and streams them to a receiver."""

from __future__ import annotations

import httptools

from mclass_tf.local.balancer.messages.limits import ANSWER_HEAD, HEADERS, UNPRODUCTIVE_ANSWER
from mclass_tf.local.balancer.messages.target_answer import SWITCHING, MalformedAnswerError, TargetAnswer
from mclass_tf.local.balancer.phases import AnswerPhase, TransitionTo
from mclass_tf.local.balancer.protocols import AnswerReceiver

_BODILESS = frozenset((204, 304))
_HEAD, _INTERIM = AnswerPhase.HEAD, AnswerPhase.INTERIM
_BODY, _BODY_UNTIL_CLOSE = AnswerPhase.BODY, AnswerPhase.BODY_UNTIL_CLOSE
_TUNNEL, _COMPLETE, _SURPLUS = AnswerPhase.TUNNEL, AnswerPhase.COMPLETE, AnswerPhase.SURPLUS
_TO_BODY = TransitionTo(AnswerPhase.BODY)
_TO_BODY_UNTIL_CLOSE = TransitionTo(AnswerPhase.BODY_UNTIL_CLOSE)
_TO_COMPLETE = TransitionTo(AnswerPhase.COMPLETE)
_TO_HEAD = TransitionTo(AnswerPhase.HEAD)
_TO_INTERIM = TransitionTo(AnswerPhase.INTERIM)
_TO_SURPLUS = TransitionTo(AnswerPhase.SURPLUS)
_TO_TUNNEL = TransitionTo(AnswerPhase.TUNNEL)


class AnswerParser:
    """`receiver` gets the answer. Without one (None), it is discarded."""

    def __init__(self) -> None:
        self.receiver: AnswerReceiver | None = None
        self.phase = _HEAD
        self._parser = httptools.HttpResponseParser(self)
        self._answer = TargetAnswer()
        self._unproductive = 0  # bytes since the answer last progressed, see `limits`

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the connection ends the answer."""
        return self.phase is _BODY_UNTIL_CLOSE or self.phase is _TUNNEL

    def start(self, receiver: AnswerReceiver) -> None:
        """Expect another answer."""
        self.receiver = receiver
        if self.phase is _COMPLETE:
            self.phase = _TO_HEAD[self.phase]

    def finish(self) -> bool:
        """Prepare for the next answer; return whether the connection can carry one."""
        self.receiver = None
        answer = self._answer
        if not answer.has_body and answer.content_length != b"0":
            # The old parser waits for a body that never comes; without a length, until the connection ends.
            self._parser = httptools.HttpResponseParser(self)
        return self.phase is _COMPLETE and answer.stays_open

    def feed(self, data: bytes) -> bool:
        """Return whether the answer is complete; raise MalformedAnswerError for one that may not be forwarded."""
        if self.phase is _TUNNEL:
            self._pass_on(data)
            return False
        self._unproductive += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self.phase is _TUNNEL and rest:
                self._pass_on(rest)
        except httptools.HttpParserError as error:
            cause = error.__context__
            is_bug = isinstance(error, httptools.HttpParserCallbackError)
            if is_bug and cause is not None and not isinstance(cause, MalformedAnswerError):
                raise cause from error
            if self.phase is not _COMPLETE and self.phase is not _SURPLUS:
                raise MalformedAnswerError from error
            self._note_surplus()
            return True
        if self._unproductive > UNPRODUCTIVE_ANSWER:
            raise MalformedAnswerError
        return self.phase is _COMPLETE or self.phase is _SURPLUS

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        if self.phase is _COMPLETE:
            self._note_surplus()
        elif self.phase is _INTERIM:
            self.phase = _TO_HEAD[self.phase]
        self._answer = TargetAnswer()

    def on_status(self, reason: bytes) -> None:
        self._answer.reason += reason
        self._answer.size += len(reason)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is not _HEAD:
            return  # a trailer or surplus
        answer = self._answer
        answer.size += len(name) + len(value) + 4
        if answer.size > ANSWER_HEAD or len(answer.headers) >= HEADERS:
            raise MalformedAnswerError
        lower = name.lower()
        if lower == b"content-length":
            answer.content_length = value
        elif lower == b"transfer-encoding":
            if answer.is_chunked or value.strip().lower() != b"chunked":
                raise MalformedAnswerError
            answer.is_chunked = True
        elif lower == b"connection":
            answer.connection = b"%b,%b" % (answer.connection, value) if answer.connection else value
        answer.headers.append((lower, name, value))

    def on_headers_complete(self) -> None:
        answer, receiver = self._answer, self.receiver
        if receiver is None or self.phase is not _HEAD:
            return
        answer.status, answer.version = self._parser.get_status_code(), self._parser.get_http_version()
        answer.check()
        if answer.status < 200:  # noqa: PLR2004
            self._take_interim(answer, receiver)
            return
        self._unproductive = 0
        answer.has_body = not receiver.request.is_head and answer.status not in _BODILESS
        if not answer.has_body:
            self.phase = _TO_COMPLETE[self.phase]
        elif answer.content_length is None and not answer.is_chunked:
            self.phase = _TO_BODY_UNTIL_CLOSE[self.phase]
        else:
            self.phase = _TO_BODY[self.phase]
        receiver.answer_head(answer)

    def on_body(self, data: bytes) -> None:
        self._unproductive = 0
        if self.phase is _COMPLETE:
            self._note_surplus()
        elif self.receiver is not None and self.phase is not _SURPLUS:
            self.receiver.answer_body(data)

    def on_message_complete(self) -> None:
        if self.phase is _BODY or self.phase is _BODY_UNTIL_CLOSE:
            self.phase = _TO_COMPLETE[self.phase]

    def _pass_on(self, data: bytes) -> None:
        if self.receiver is not None:
            self.receiver.answer_body(data)

    def _take_interim(self, answer: TargetAnswer, receiver: AnswerReceiver) -> None:
        if answer.status != SWITCHING:
            self.phase = _TO_INTERIM[self.phase]  # the load balancer has sent the client its 100 already
            return
        if not receiver.request.is_websocket:
            raise MalformedAnswerError
        self.phase = _TO_TUNNEL[self.phase]
        receiver.answer_head(answer)

    def _note_surplus(self) -> None:
        if self.phase is _COMPLETE:
            self.phase = _TO_SURPLUS[self.phase]

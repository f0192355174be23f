"""Reads the answers of a target, and hands them over as they come."""

from __future__ import annotations

import httptools

from mclass_tf.local.balancer.messages.limits import ANSWER_SILENCE
from mclass_tf.local.balancer.messages.target_answer import SWITCHING, MalformedAnswerError, TargetAnswer
from mclass_tf.local.balancer.phases import AnswerPhase, advance
from mclass_tf.local.balancer.protocols import AnswerReceiver

_BODILESS = frozenset((204, 304))
_HEAD, _INTERIM = AnswerPhase.HEAD, AnswerPhase.INTERIM
_BODY, _BODY_UNTIL_CLOSE = AnswerPhase.BODY, AnswerPhase.BODY_UNTIL_CLOSE
_TUNNEL, _COMPLETE, _SURPLUS = AnswerPhase.TUNNEL, AnswerPhase.COMPLETE, AnswerPhase.SURPLUS


class AnswerParser:
    """`receiver` takes the answer; None: nobody does."""

    def __init__(self) -> None:
        self.receiver: AnswerReceiver | None = None
        self.phase = _HEAD
        self._parser = httptools.HttpResponseParser(self)
        self._answer = TargetAnswer()
        self._unheard = 0  # bytes since the target got anywhere with its answer

    @property
    def is_complete(self) -> bool:
        return self.phase is _COMPLETE or self.phase is _SURPLUS

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the connection is the end of the answer."""
        return self.phase is _BODY_UNTIL_CLOSE or self.phase is _TUNNEL

    @property
    def stays_open(self) -> bool:
        """Whether the connection may carry another request, as far as the answer goes."""
        return self.phase is _COMPLETE and self._answer.stays_open

    def start(self, receiver: AnswerReceiver) -> None:
        """Expect another answer."""
        self.receiver = receiver
        if self.phase is _COMPLETE:
            self.phase = advance(self.phase, _HEAD)

    def finish(self) -> None:
        """Be ready for another answer."""
        self.receiver = None
        answer = self._answer
        if not answer.has_body and answer.content_length != b"0":
            # The old one waits for a body that will not come: without a length, until the connection ends.
            self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Raise MalformedAnswerError for what may not be passed on; what comes behind an answer may be anything."""
        if self.phase is _TUNNEL:
            self._pass_on(data)
            return
        self._unheard += len(data)
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
            if not self.is_complete:
                raise MalformedAnswerError from error
            self._take_surplus()
            return
        if self._unheard > ANSWER_SILENCE:
            raise MalformedAnswerError

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        if self.phase is _COMPLETE:
            self._take_surplus()
        elif self.phase is _INTERIM:
            self.phase = advance(self.phase, _HEAD)
        self._answer = TargetAnswer()

    def on_status(self, reason: bytes) -> None:
        self._answer.add_reason(reason)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is _HEAD:  # else it is a trailer, or surplus
            self._answer.add_header(name, value)

    def on_headers_complete(self) -> None:
        answer, receiver = self._answer, self.receiver
        if receiver is None or self.phase is not _HEAD:
            return
        answer.complete(status=self._parser.get_status_code(), version=self._parser.get_http_version())
        if answer.status < 200:  # noqa: PLR2004
            self._take_interim(answer, receiver)
            return
        self._unheard = 0
        answer.has_body = not receiver.request.is_head and answer.status not in _BODILESS
        if not answer.has_body:
            self.phase = advance(self.phase, _COMPLETE)
        elif answer.content_length is None and not answer.is_chunked:
            self.phase = advance(self.phase, _BODY_UNTIL_CLOSE)
        else:
            self.phase = advance(self.phase, _BODY)
        receiver.answer_head(answer)

    def on_body(self, data: bytes) -> None:
        self._unheard = 0
        if self.phase is _COMPLETE:
            self._take_surplus()
        elif self.phase is not _SURPLUS:
            self._pass_on(data)

    def on_message_complete(self) -> None:
        if self.phase is _BODY or self.phase is _BODY_UNTIL_CLOSE:
            self.phase = advance(self.phase, _COMPLETE)

    def _pass_on(self, data: bytes) -> None:
        if self.receiver is not None:
            self.receiver.answer_body(data)

    def _take_interim(self, answer: TargetAnswer, receiver: AnswerReceiver) -> None:
        if answer.status != SWITCHING:
            self.phase = advance(self.phase, _INTERIM)  # the client has had its 100 from the load balancer
            return
        if not receiver.request.is_websocket:
            raise MalformedAnswerError
        self.phase = advance(self.phase, _TUNNEL)
        receiver.answer_head(answer)

    def _take_surplus(self) -> None:
        if self.phase is _COMPLETE:
            self.phase = advance(self.phase, _SURPLUS)

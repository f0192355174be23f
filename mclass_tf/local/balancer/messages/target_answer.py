"""The head of a target's answer as it came."""

from __future__ import annotations

import re

from mclass_tf.local.balancer.messages.limits import ANSWER_HEAD, HEADERS

SWITCHING = 101
_LOWEST, _HIGHEST = 100, 599  # https://www.rfc-editor.org/rfc/rfc9110#section-15
_VERSIONS = frozenset(("1.0", "1.1"))
_REASON = re.compile(rb"[\t -~\x80-\xff]*")  # https://www.rfc-editor.org/rfc/rfc9112#section-4


class MalformedAnswerError(Exception):
    """What the target sent is not an HTTP answer that may be passed on."""


class TargetAnswer:
    """`headers` are triples: the name in lower case, the name as it came, the value."""

    __slots__ = (
        "connection",
        "content_length",
        "has_body",
        "headers",
        "is_chunked",
        "reason",
        "size",
        "status",
        "version",
    )

    def __init__(self) -> None:
        self.status = 0
        self.reason = b""
        self.version = "1.1"
        self.headers: list[tuple[bytes, bytes, bytes]] = []
        self.connection = b""
        self.content_length: bytes | None = None
        self.is_chunked = False
        self.has_body = True
        self.size = 0

    def add_reason(self, part: bytes) -> None:
        self.reason += part
        self.size += len(part)

    def add_header(self, name: bytes, value: bytes) -> None:
        self.size += len(name) + len(value) + 4
        if self.size > ANSWER_HEAD or len(self.headers) >= HEADERS:
            raise MalformedAnswerError
        lower = name.lower()
        if lower == b"content-length":
            self.content_length = value
        elif lower == b"transfer-encoding":
            if self.is_chunked or value.strip().lower() != b"chunked":
                raise MalformedAnswerError
            self.is_chunked = True
        elif lower == b"connection":
            self.connection = b"%b,%b" % (self.connection, value) if self.connection else value
        self.headers.append((lower, name, value))

    def complete(self, *, status: int, version: str) -> None:
        """Take the rest of the head; raise MalformedAnswerError for what the parser lets pass and HTTP does not."""
        self.status, self.version = status, version
        if not _LOWEST <= self.status <= _HIGHEST or self.version not in _VERSIONS:
            raise MalformedAnswerError
        if self.reason != b"OK" and _REASON.fullmatch(self.reason) is None:
            raise MalformedAnswerError
        if self.is_chunked and self.version == "1.0":
            raise MalformedAnswerError

    @property
    def stays_open(self) -> bool:
        """Whether the target takes another request on the connection."""
        if not self.connection:
            return self.version == "1.1"
        tokens = {token.strip().lower() for token in self.connection.split(b",")}
        return b"close" not in tokens and (self.version == "1.1" or b"keep-alive" in tokens)

"""Classifies requests that two servers may interpret differently, as AWS does.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#desync-mitigation-mode
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html#classification-reasons
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_FRAMING_NAMES = frozenset((b"contentlength", b"transferencoding"))
SHORTEST = min(map(len, _FRAMING_NAMES))  # letters of a suspicious name, at least
_NO_LETTERS = re.compile(rb"[^a-z]+")
_WITHOUT_BODY = frozenset((b"GET", b"HEAD"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Desync:
    """The values of the access log. "Severe" is missing: the parser refuses such requests in every mode."""

    classification: str
    reason: str

    @property
    def is_ambiguous(self) -> bool:
        return self.classification == "Ambiguous"


SUSPICIOUS = Desync(classification="Ambiguous", reason="SuspiciousHeader")
_CHUNKS = Desync(classification="Ambiguous", reason="UndefinedTransferEncodingSemantics")
_LENGTH = Desync(classification="Ambiguous", reason="UndefinedContentLengthSemantics")
_NO_LENGTH = Desync(classification="Acceptable", reason="GetHeadZeroContentLength")


def classify(method: bytes, *, length: int | None, is_chunked: bool) -> Desync | None:
    """Classify a request by its body, even one of length 0; None if the request complies."""
    if method not in _WITHOUT_BODY:
        return None
    if is_chunked:
        return _CHUNKS
    return _LENGTH if length else _NO_LENGTH


@lru_cache(maxsize=512)
def is_suspicious(name: bytes) -> bool:
    """Whether another server might mistake this lower-case header name for Content-Length or Transfer-Encoding."""
    return _NO_LETTERS.sub(b"", name) in _FRAMING_NAMES

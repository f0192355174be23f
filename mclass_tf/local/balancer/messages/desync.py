"""Classifies requests that two servers may interpret differently, as AWS does.

The reasons are those of AWS's library http_desync_guardian, which Elastic Load Balancing uses:
https://github.com/aws/http-desync-guardian/blob/main/docs/README.md
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#desync-mitigation-mode
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html#classification-reasons
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_NO_LETTERS = re.compile(rb"[^a-z]+")
_BLANKS = re.compile(rb"[\x00-\x20\x7f]+")
_WITHOUT_BODY = frozenset((b"GET", b"HEAD"))
_LETTERS = ((b"\xc5\xbf", b"s"), (b"\xc4\xb1", b"i"))  # U+017F and U+0131, which become S and I in upper case
_SEVERITY = {"Acceptable": 1, "Ambiguous": 2, "Severe": 3}
_WHITESPACE = b" \t"
_MAX_LENGTH = 2**64 - 1
_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_BAD = re.compile(rb"[\x00\r\n]")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROL_IN_TARGET = re.compile(rb"[\x00-\x1f\x7f]")
_VERSION = re.compile(rb"HTTP/1\.[0-9]")
_OLD_VERSIONS = frozenset((b"", b"HTTP/0.9"))
_COMPLIANT_VERSIONS = frozenset((b"HTTP/1.0", b"HTTP/1.1"))
CODINGS = frozenset((b"chunked", b"compress", b"deflate", b"gzip", b"identity"))
LENGTH, ENCODING = b"content-length", b"transfer-encoding"


@dataclass(frozen=True, kw_only=True, slots=True)
class Desync:
    """The values of the access log for a request that does not comply with RFC 7230."""

    classification: str
    reason: str

    @property
    def is_ambiguous(self) -> bool:
        return self.classification == "Ambiguous"

    @property
    def is_severe(self) -> bool:
        return self.classification == "Severe"


def _reasons(classification: str, *names: str) -> dict[str, Desync]:
    return {name: Desync(classification=classification, reason=name) for name in names}


REASONS = {
    **_reasons(
        "Acceptable",
        "GetHeadZeroContentLength",
        "NonCompliantHeader",
        "NonCompliantVersion",
        "NonCrLfLineTermination",
        "SpaceInUri",
    ),
    **_reasons(
        "Ambiguous",
        "AmbiguousUri",
        "BothTeClPresent",
        "DuplicateContentLength",
        "EmptyHeader",
        "MissingHeaderColon",
        "MissingUri",
        "MultilineHeader",
        "SuspiciousHeader",
        "UndefinedContentLengthSemantics",
        "UndefinedTransferEncodingSemantics",
    ),
    **_reasons(
        "Severe",
        "BadContentLength",
        "BadHeader",
        "BadMethod",
        "BadTransferEncoding",
        "BadUri",
        "BadVersion",
        "MultipleContentLength",
        "MultipleTransferEncodingChunked",
    ),
}


class Findings:
    """Keeps the most severe finding, and the first one of several that are equally severe."""

    def __init__(self) -> None:
        self.worst: Desync | None = None

    def add(self, reason: str) -> None:
        found = REASONS[reason]
        if self.worst is None or _SEVERITY[self.worst.classification] < _SEVERITY[found.classification]:
            self.worst = found


Headers = Sequence[tuple[bytes, bytes]]


def classify(findings: Findings, *, method: bytes, target: bytes, version: bytes, headers: Headers) -> None:
    """Add what is wrong with a request. `headers` are pairs as received; a name includes spaces around it."""
    for name, value in headers:
        _check_header(findings, name, value)
    _check_framing(findings, method=method, version=version, headers=headers)
    if _NAME.fullmatch(method) is None:
        findings.add("BadMethod")
    _check_version(findings, version)
    _check_target(findings, target)


@lru_cache(maxsize=512)
def resembles(name: bytes) -> bytes | None:
    """Return the framing header for which another server might mistake this lower-case name; None for no such name.

    Content-Length and Transfer-Encoding themselves resemble themselves.
    """
    for letter, ascii_letter in _LETTERS:
        name = name.replace(letter, ascii_letter)
    for part in (name, *_BLANKS.split(name)):
        letters = _NO_LETTERS.sub(b"", part)
        if letters == b"contentlength":
            return LENGTH
        if letters == b"transferencoding":
            return ENCODING
    return None


def codings(values: Sequence[bytes]) -> list[bytes]:
    """Return the transfer codings of all Transfer-Encoding headers, without parameters."""
    items = (item for value in values for item in value.split(b","))
    return [item.partition(b";")[0].strip(_WHITESPACE).lower() for item in items]


def parse_length(value: bytes) -> int | None:
    """Return a Content-Length, or None if it is not a decimal number of 64 bits."""
    text = value.strip(_WHITESPACE)
    if not text.isdigit() or len(text) > len(str(_MAX_LENGTH)) + 100:
        return 0 if not text else None
    number = int(text)
    return number if number <= _MAX_LENGTH else None


def _check_header(findings: Findings, name: bytes, value: bytes) -> None:
    if _BAD.search(name) or _BAD.search(value):
        findings.add("BadHeader")
        return
    stripped = name.strip(_WHITESPACE)
    if not stripped or stripped.startswith(b":"):
        findings.add("EmptyHeader")
        return
    lower = name.lower()
    if lower not in {LENGTH, ENCODING} and resembles(lower):
        findings.add("SuspiciousHeader")
    if _NAME.fullmatch(name) is None or _CONTROL.search(value):
        findings.add("NonCompliantHeader")


def _check_framing(findings: Findings, *, method: bytes, version: bytes, headers: Headers) -> None:
    """Judge the headers that mark the end of the body, and those that another server may mistake for them."""
    found = [(resembles(name.lower()), value) for name, value in headers]
    lengths = [value for kind, value in found if kind == LENGTH]
    encodings = [value for kind, value in found if kind == ENCODING]
    if encodings and (version in _OLD_VERSIONS or version == b"HTTP/1.0"):
        findings.add("UndefinedTransferEncodingSemantics")
        return
    if lengths and version in _OLD_VERSIONS:
        findings.add("UndefinedContentLengthSemantics")
        return
    _check_encodings(findings, encodings)
    length = _check_lengths(findings, lengths)
    if method in _WITHOUT_BODY:
        if encodings:
            findings.add("UndefinedTransferEncodingSemantics")
        if length is not None:
            findings.add("UndefinedContentLengthSemantics" if length else "GetHeadZeroContentLength")
    if encodings and length is not None:
        findings.add("BothTeClPresent")


def _check_encodings(findings: Findings, values: Sequence[bytes]) -> None:
    named = codings(values) if values else []
    if any(coding not in CODINGS for coding in named):
        findings.add("BadTransferEncoding")
    if named.count(b"chunked") > 1:
        findings.add("MultipleTransferEncodingChunked")


def _check_lengths(findings: Findings, values: Sequence[bytes]) -> int | None:
    first: int | None = None
    for value in values:
        length = parse_length(value)
        if length is None:
            findings.add("BadContentLength")
        elif first is None:
            first = length
        else:
            findings.add("DuplicateContentLength" if length == first else "MultipleContentLength")
    return first


def _check_version(findings: Findings, version: bytes) -> None:
    stripped = version.strip(_WHITESPACE)
    if stripped in _OLD_VERSIONS:
        findings.add("NonCompliantVersion")
    elif _VERSION.fullmatch(stripped) is None:
        findings.add("BadVersion")
    elif version not in _COMPLIANT_VERSIONS:
        findings.add("NonCompliantVersion")


def _check_target(findings: Findings, target: bytes) -> None:
    if _BAD.search(target):
        findings.add("BadUri")
    elif _CONTROL_IN_TARGET.search(target):
        findings.add("AmbiguousUri")
    elif b" " in target:
        findings.add("SpaceInUri")

"""Reads the heads that a strict HTTP parser refuses, classifies them, and writes them anew.

A load balancer of AWS forwards most requests that do not comply (`desync.py`). What this one forwards is always strict: one
marker of the body's end, valid names and values, no spaces or control characters in the target. So no target can find another
request in it than the load balancer did. Bytes of the target above 127, such as raw UTF-8, stay as they are: they comply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mclass_tf.local.balancer.messages.desync import (
    CODINGS,
    ENCODING,
    LENGTH,
    REASONS,
    Desync,
    Findings,
    classify,
    codings,
    parse_length,
    resembles,
)
from mclass_tf.local.balancer.messages.limits import REQUEST_LINE

_NAME = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_COMPLIANT = re.compile(rb"[A-Z-]+ [!-~]+ HTTP/1\.[01]\r\n(?:" + _NAME + rb":[\t -~\x80-\xff]*\r\n)*\r\n")
_VALID_NAME = re.compile(_NAME)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_UNSAFE_IN_TARGET = re.compile(rb"[\x00-\x20\x7f]")
_VERSION_AFTER_CONTROL = re.compile(rb"[\x00-\x1f]HTTP/[0-9]")
_VERSION_AFTER_SPACE = re.compile(rb"(?:^| )HTTP/[0-9]")
_LATER_VERSION = re.compile(rb"HTTP/[2-9](?:\.[0-9])?")
_WHITESPACE = b" \t"
_MAY_FOLD = b"content-type"  # alone: https://www.rfc-editor.org/rfc/rfc7230#section-3.2.4

is_compliant = _COMPLIANT.fullmatch
"""Whether a strict parser may read a whole head. It may still refuse the head."""


class RequestRefusedError(Exception):
    """The request is invalid, or no mode forwards it: the load balancer itself answers it with `status`."""

    def __init__(self, status: int, desync: Desync | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.desync = desync


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """`data` is the head in strict HTTP/1.1 or HTTP/1.0, with "/" for `target`.

    `drops_headers`: it lacks headers of the original that were invalid or resembled Content-Length or Transfer-Encoding.
    `is_last`: no other request may follow on the connection, because the length of this one is not certain.
    """

    data: bytes
    target: bytes
    version: str
    desync: Desync | None
    drops_headers: bool
    is_last: bool


def read_head(data: bytes) -> Head:
    """Read a whole head, up to its empty line. Raise RequestRefusedError if its class is "Severe" or its body has no known end."""
    findings = Findings()
    lines = _split_lines(data, findings)
    method, target, version = _split_request_line(lines[0], findings)
    headers = _split_headers(lines[1:], findings)
    classify(findings, method=method, target=target, version=version, headers=headers)
    desync = findings.worst
    if desync is not None and desync.is_severe:
        raise RequestRefusedError(501 if desync.reason == "BadTransferEncoding" else 400, desync)
    target = _UNSAFE_IN_TARGET.sub(_quote, target.strip(_WHITESPACE)) or b"/"
    if len(target) > REQUEST_LINE:
        raise RequestRefusedError(414)
    kept = [(name, value) for name, value in headers if _may_forward(name)]
    framing = _framing(headers, desync)
    is_old = version in {b"", b"HTTP/0.9"}
    is_first_version = is_old or version.strip(_WHITESPACE) == b"HTTP/1.0"
    first_line = b"%b / HTTP/1.%d\r\n" % (method, 0 if is_first_version else 1)
    rest = b"".join(b"%b: %b\r\n" % (name, _CONTROL.sub(b" ", value)) for name, value in kept)
    encoded = sum(name.lower() == ENCODING for name, _ in headers)
    framed = encoded + sum(name.lower() == LENGTH for name, _ in headers)
    return Head(
        data=b"%b%b%b\r\n" % (first_line, rest, framing),
        target=target,
        version="0.9" if is_old else "1.0" if is_first_version else "1.1",
        desync=desync,
        drops_headers=len(kept) + framed < len(headers),
        is_last=is_old or (encoded > 0 and (is_first_version or not framing.startswith(b"T"))),
    )


def severe(reason: str) -> RequestRefusedError:
    return RequestRefusedError(400, REASONS[reason])


def _split_lines(data: bytes, findings: Findings) -> list[bytes]:
    r"""Return the lines without the empty one at the end.

    http_desync_guardian accepts lines that end with \n if it parses a request itself, and calls \n within a line severe if it
    gets parsed ones. Both hold here: every line ends with \n alone, or none does.
    """
    lines = data.split(b"\n")[:-1]
    with_return = sum(line.endswith(b"\r") for line in lines)
    if with_return == 0:
        findings.add("NonCrLfLineTermination")
    elif with_return < len(lines):
        raise severe("BadHeader" if lines[0].endswith(b"\r") else "BadUri")
    return [line[:-1] if with_return else line for line in lines[:-1]]


def _split_request_line(line: bytes, findings: Findings) -> tuple[bytes, bytes, bytes]:
    """Return method, target and version. The target may contain spaces; without a version, it is HTTP/0.9."""
    method, _, rest = line.partition(b" ")
    stripped = rest.rstrip(_WHITESPACE)
    target, separator, version = stripped.rpartition(b" ")
    if not version.startswith(b"HTTP/"):
        target, version = stripped, b""
        if not target or target != _UNSAFE_IN_TARGET.sub(b"", target):
            # A part of it may be meant as the version, such as after a tab.
            raise severe("BadUri" if _VERSION_AFTER_CONTROL.search(target) else "BadVersion")
    elif _LATER_VERSION.fullmatch(version):
        raise RequestRefusedError(505)
    elif not separator:
        findings.add("MissingUri")
    elif _VERSION_AFTER_SPACE.search(target):
        raise severe("BadVersion")  # the line may end before
    return method, target, version + rest[len(stripped) :] if version else b""


def _split_headers(lines: list[bytes], findings: Findings) -> list[tuple[bytes, bytes]]:
    """Return pairs of name and value. Continued lines are joined, as https://www.rfc-editor.org/rfc/rfc9112#section-5.2 says."""
    headers: list[tuple[bytes, bytes]] = []
    for line in lines:
        name, colon, value = line.partition(b":")
        is_continued = line[:1] in (b" ", b"\t")
        if is_continued and headers and not (colon and (not name.strip() or resembles(name.lower()))):
            first, begun = headers[-1]
            headers[-1] = (first, b"%b %b" % (begun, line.strip(_WHITESPACE)))
            if first.lower() != _MAY_FOLD:
                findings.add("MultilineHeader")
        elif colon:
            headers.append((name, value.strip(_WHITESPACE)))
        elif b"\r" in line or b"\0" in line:
            raise severe("BadHeader")
        else:
            findings.add("MissingHeaderColon")
    return headers


def _may_forward(name: bytes) -> bool:
    return _VALID_NAME.fullmatch(name) is not None and resembles(name.lower()) is None


def _framing(headers: list[tuple[bytes, bytes]], desync: Desync | None) -> bytes:
    """Return the one line that marks the end of the body. Chunks win over a length, as RFC 9112 says.

    The load balancer supports no codings but "chunked" and "identity", although http_desync_guardian calls others compliant:
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-501-issues
    """
    named = codings([value for name, value in headers if name.lower() == ENCODING])
    if set(named) - {b"chunked", b"identity"}:
        raise RequestRefusedError(501 if set(named) <= CODINGS else 400, desync)
    if b"chunked" in named:
        return b"Transfer-Encoding: chunked\r\n"
    lengths = [value for name, value in headers if name.lower() == LENGTH]
    if not lengths:
        return b""
    values = {parse_length(value) for value in lengths}
    length = values.pop()
    if values or length is None:
        raise severe("BadContentLength")
    return b"Content-Length: %d\r\n" % length


def _quote(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])

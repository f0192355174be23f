"""Requests of each class of AWS's http_desync_guardian, each with its reason, and with what a load balancer does with it.

The classes and reasons follow https://github.com/aws/http-desync-guardian/blob/main/docs/README.md; the requests are our own.
"""

from __future__ import annotations

from dataclasses import dataclass

CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`body` is what the target gets, if the request is forwarded; `status` what the load balancer answers otherwise."""

    name: str
    data: bytes
    reason: str
    body: bytes = b""
    path: str = "/a"
    status: int = 400


def _get(name: str, reason: str, *lines: bytes, target: bytes = b"/a", path: str = "/a") -> Case:
    head = b"".join(b"%b\r\n" % line for line in (b"GET %b HTTP/1.1" % target, b"Host: a", *lines, b""))
    return Case(name=name, data=head, reason=reason, path=path)


def _post(
    name: str, reason: str, *lines: bytes, sent: bytes = b"", body: bytes = b"", status: int = 400
) -> Case:
    head = b"".join(b"%b\r\n" % line for line in (b"POST /a HTTP/1.1", b"Host: a", *lines, b""))
    return Case(name=name, data=head + sent, reason=reason, body=body, status=status)


def _line(
    name: str, reason: str, line: bytes, *lines: bytes, path: str = "/a", sent: bytes = b"", body: bytes = b""
) -> Case:
    head = b"".join(b"%b\r\n" % each for each in (line, b"Host: a", *lines, b""))
    return Case(name=name, data=head + sent, reason=reason, path=path, body=body)


_LENGTH_3 = b"Content-Length: 3"
_CHUNKED = b"Transfer-Encoding: chunked"

COMPLIANT = (
    _get("a plain GET", "-"),
    _get("Korean in the path", "-", target="/한글".encode(), path="/한글"),
    _get("Korean in the query", "-", target="/search?q=한글".encode(), path="/search?q=한글"),
    _get("Cyrillic in the path", "-", target="/поиск".encode(), path="/поиск"),
    _get("an emoji", "-", target="/🙂".encode(), path="/🙂"),
    _get("bytes that are no UTF-8", "-", target=b"/\xff\xfe", path="/\udcff\udcfe"),
    _get("escaped UTF-8", "-", target=b"/%ED%95%9C", path="/%ED%95%9C"),
    _get("an escaped tab", "-", target=b"/a%09b", path="/a%09b"),
    _get("escaped line ends", "-", target=b"/a%0D%0Ab", path="/a%0D%0Ab"),
    _get("an escaped NUL", "-", target=b"/a%00b", path="/a%00b"),
    _get(
        "every printable character",
        "-",
        target=b"/!#$&'()*+,;=:@<>[]\\^`{|}~\"?x",
        path="/!#$&'()*+,;=:@<>[]\\^`{|}~\"?x",
    ),
    _get("a percent sign alone", "-", target=b"/100%", path="/100%"),
    _get("two fragments", "-", target=b"/a#b#c?d", path="/a#b#c?d"),
    _get("no target between two spaces", "-", target=b"", path="/"),
    _get("all characters of a name", "-", b"A-!#$%&'*+.^_`|~09: b"),
    _get("a name with an underscore", "-", b"My_Header: b"),
    _get("a value with UTF-8", "-", "X-User: 한글".encode()),
    _get("a value with other bytes", "-", b"X-User: \x85\x93\xa0"),
    _get("tabs around a value", "-", b"X: \t a\tb \t"),
    _get("an empty value", "-", b"X:"),
    _get("a framing header within a value", "-", b"X: Transfer-Encoding: chunked"),
    _post("a length", "-", _LENGTH_3, sent=b"abc", body=b"abc"),
    _post("a length between spaces", "-", b"Content-Length:   3  ", sent=b"abc", body=b"abc"),
    _post("a length with zeros", "-", b"Content-Length: 003", sent=b"abc", body=b"abc"),
    _post("a length of 0", "-", b"Content-Length: 0"),
    _post("no length at all", "-"),
    _post("chunks", "-", _CHUNKED, sent=CHUNKS, body=b"abc"),
    _post("chunks in mixed case", "-", b"tRANSFER-eNCODING: ChUnKeD", sent=CHUNKS, body=b"abc"),
    _post("chunks with a parameter", "-", b"Transfer-Encoding: \tchunked;a=b;\t", sent=CHUNKS, body=b"abc"),
    _post("identity, and chunks", "-", b"Transfer-Encoding: identity , chunked", sent=CHUNKS, body=b"abc"),
    _post(
        "identity, and chunks, in two lines",
        "-",
        b"Transfer-Encoding: identity",
        _CHUNKED,
        sent=CHUNKS,
        body=b"abc",
    ),
    _line("HTTP/1.0", "-", b"GET /a HTTP/1.0"),
    _post("a folded content type", "-", b"Content-Type: a/b;", b" c=d", _LENGTH_3, sent=b"abc", body=b"abc"),
)
ACCEPTABLE = (
    _get("a length of 0 with GET", "GetHeadZeroContentLength", b"Content-Length: 0"),
    _line("a length of 0 with HEAD", "GetHeadZeroContentLength", b"HEAD /a HTTP/1.1", b"Content-Length: 0"),
    _get("a space behind a name", "NonCompliantHeader", b"X : a"),
    _get("a tab behind a name", "NonCompliantHeader", b"X\t: a"),
    _get("a space within a name", "NonCompliantHeader", b"X Y: a"),
    _get("a control character before a name", "NonCompliantHeader", b"\x01X: a"),
    _get("a control character behind a name", "NonCompliantHeader", b"X\x02: a"),
    _get("parentheses in a name", "NonCompliantHeader", b"X(Y): a"),
    _get("a name in UTF-8", "NonCompliantHeader", "이름: a".encode()),
    _get("a control character before a value", "NonCompliantHeader", b"X: \x01a"),
    _get("a control character behind a value", "NonCompliantHeader", b"X: a\x1f"),
    _get("a deleted character", "NonCompliantHeader", b"X: a\x7fb"),
    _post(
        "an invalid name beside a length", "NonCompliantHeader", b"X : a", _LENGTH_3, sent=b"abc", body=b"abc"
    ),
    _post(
        "an invalid name beside chunks", "NonCompliantHeader", b"X : a", _CHUNKED, sent=CHUNKS, body=b"abc"
    ),
    _line("a later version", "NonCompliantVersion", b"GET /a HTTP/1.2"),
    _line("the last version of HTTP/1", "NonCompliantVersion", b"GET /a HTTP/1.9"),
    _line("a space behind the version", "NonCompliantVersion", b"GET /a HTTP/1.1 "),
    _line("a tab behind the version", "NonCompliantVersion", b"GET /a HTTP/1.1\t"),
    _line("HTTP/0.9", "NonCompliantVersion", b"GET /a HTTP/0.9"),
    _line("no version", "NonCompliantVersion", b"GET /a"),
    _line("a space in the path", "SpaceInUri", b"GET /a b HTTP/1.1", path="/a%20b"),
    _line("spaces in the query", "SpaceInUri", b"GET /a?b=c d e HTTP/1.1", path="/a?b=c%20d%20e"),
    _line("two spaces before the target", "SpaceInUri", b"GET  /a HTTP/1.1"),
    _line("two spaces behind the target", "SpaceInUri", b"GET /a  HTTP/1.1"),
    Case(name="line feeds alone", data=b"GET /a HTTP/1.1\nHost: a\n\n", reason="NonCrLfLineTermination"),
    Case(
        name="line feeds alone, and a body",
        data=b"POST /a HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc",
        reason="NonCrLfLineTermination",
        body=b"abc",
    ),
)
_SUSPICIOUS_NAMES = (
    b"Content-Length ",
    b"Content-Length\t",
    b"Content-Length\x01",
    b"\x01Content-Length",
    b"Content Length",
    b"Content_Length",
    b"Content.Length",
    b"ContentLength",
    b"Content--Length",
    b"Content-Length-",
    b"Content-Length x",
    b"Content-Length\xc2\xa0",
    b"\xa0Content-Length",
    b"Transfer-Encoding ",
    b"Transfer-Encoding\t",
    b"Transfer-Encoding\x02",
    b"\x02Transfer-Encoding",
    b"Transfer Encoding",
    b"Transfer- Encoding",
    b"Transfer_Encoding",
    b"Transfer__Encoding",
    b"Transfer.Encoding",
    b"TransferEncoding",
    b"Transfer--Encoding",
    b"_Transfer-Encoding",
    b"Transfer-Encoding yz",
    b"transfer-encoding \x03",
    "Tran\u017ffer-Encoding".encode(),
    "Transfer-Encod\u0131ng".encode(),
    "Transfer―Encoding".encode(),
    "\u2003Transfer-Encoding".encode(),
    b"Transfer-Encoding\x88",
)


def _suspicious(name: bytes) -> Case:
    value = b"3" if b"ontent" in name else b"chunked"
    return _post(f"a name like {name!r}", "SuspiciousHeader", b"%b: %b" % (name, value))


AMBIGUOUS = (
    *(_suspicious(name) for name in _SUSPICIOUS_NAMES),
    _post("a space before Transfer-Encoding", "SuspiciousHeader", b"X: a", b" Transfer-Encoding: chunked"),
    _post("a tab before Content-Length", "SuspiciousHeader", b"X: a", b"\tContent-Length: 3"),
    _post(
        "a length, and a name like Transfer-Encoding",
        "SuspiciousHeader",
        b"Transfer-Encoding : chunked",
        _LENGTH_3,
        sent=b"abc",
        body=b"abc",
    ),
    _line(
        "a length with GET",
        "UndefinedContentLengthSemantics",
        b"GET /a HTTP/1.1",
        _LENGTH_3,
        sent=b"abc",
        body=b"abc",
    ),
    _line(
        "chunks with GET",
        "UndefinedTransferEncodingSemantics",
        b"GET /a HTTP/1.1",
        _CHUNKED,
        sent=CHUNKS,
        body=b"abc",
    ),
    _line(
        "a length with HEAD",
        "UndefinedContentLengthSemantics",
        b"HEAD /a HTTP/1.1",
        _LENGTH_3,
        sent=b"abc",
        body=b"abc",
    ),
    _line(
        "chunks with HEAD",
        "UndefinedTransferEncodingSemantics",
        b"HEAD /a HTTP/1.1",
        _CHUNKED,
        sent=CHUNKS,
        body=b"abc",
    ),
    _line(
        "chunks in HTTP/1.0",
        "UndefinedTransferEncodingSemantics",
        b"POST /a HTTP/1.0",
        _CHUNKED,
        sent=CHUNKS,
        body=b"abc",
    ),
    _line(
        "chunks in HTTP/0.9",
        "UndefinedTransferEncodingSemantics",
        b"POST /a HTTP/0.9",
        _CHUNKED,
        sent=CHUNKS,
        body=b"abc",
    ),
    _line(
        "a length in HTTP/0.9",
        "UndefinedContentLengthSemantics",
        b"POST /a HTTP/0.9",
        _LENGTH_3,
        sent=b"abc",
        body=b"abc",
    ),
    _line(
        "chunks without a version",
        "UndefinedTransferEncodingSemantics",
        b"POST /a",
        _CHUNKED,
        sent=CHUNKS,
        body=b"abc",
    ),
    _line(
        "a length without a version",
        "UndefinedContentLengthSemantics",
        b"POST /a",
        _LENGTH_3,
        sent=b"abc",
        body=b"abc",
    ),
    _post("one length twice", "DuplicateContentLength", _LENGTH_3, _LENGTH_3, sent=b"abc", body=b"abc"),
    _post(
        "one length three times",
        "DuplicateContentLength",
        _LENGTH_3,
        b"X: a",
        _LENGTH_3,
        _LENGTH_3,
        sent=b"abc",
        body=b"abc",
    ),
    _post(
        "one length, written twice",
        "DuplicateContentLength",
        _LENGTH_3,
        b"content-length: 03",
        sent=b"abc",
        body=b"abc",
    ),
    _post("chunks and a length", "BothTeClPresent", _CHUNKED, _LENGTH_3, sent=CHUNKS, body=b"abc"),
    _post(
        "a length and chunks", "BothTeClPresent", b"Content-Length: 300", _CHUNKED, sent=CHUNKS, body=b"abc"
    ),
    _post(
        "mixed case and a length",
        "BothTeClPresent",
        b"TRANSFER-encoding: CHUNKED",
        _LENGTH_3,
        sent=CHUNKS,
        body=b"abc",
    ),
    _post(
        "chunks with a parameter, and a length",
        "BothTeClPresent",
        b"Transfer-Encoding: chunked;a",
        _LENGTH_3,
        sent=CHUNKS,
        body=b"abc",
    ),
    _post(
        "identity and a length",
        "BothTeClPresent",
        b"Transfer-Encoding: identity",
        _LENGTH_3,
        sent=b"abc",
        body=b"abc",
    ),
    _post("an empty name", "EmptyHeader", b": a", _LENGTH_3, sent=b"abc", body=b"abc"),
    _post(
        "a name that begins with a colon",
        "EmptyHeader",
        b":X:Transfer-Encoding: chunked",
        _LENGTH_3,
        sent=b"abc",
        body=b"abc",
    ),
    _post("a name of spaces", "EmptyHeader", b"X: a", b" \t : chunked", _LENGTH_3, sent=b"abc", body=b"abc"),
    _line("a tab in the target", "AmbiguousUri", b"GET /a\tb HTTP/1.1", path="/a%09b"),
    _line("a control character in the target", "AmbiguousUri", b"GET /a\x01b HTTP/1.1", path="/a%01b"),
    _line("a deleted character in the target", "AmbiguousUri", b"GET /a\x7fb HTTP/1.1", path="/a%7Fb"),
    _line(
        "a version behind a tab in the target",
        "AmbiguousUri",
        b"GET /a\tHTTP/1.1 HTTP/1.1",
        path="/a%09HTTP/1.1",
    ),
    _line("no target", "MissingUri", b"GET HTTP/1.1", path="/"),
    _get("a folded line", "MultilineHeader", b"X: a", b" folded"),
    _get("a folded line with a colon", "MultilineHeader", b"X: a", b"\tb: c"),
    _get("a line without a colon", "MissingHeaderColon", b"X"),
)
SEVERE = (
    _post("two lengths", "MultipleContentLength", _LENGTH_3, b"Content-Length: 4", sent=b"abcd"),
    _post(
        "two lengths, one behind a space",
        "MultipleContentLength",
        b"Content-Length : 4",
        _LENGTH_3,
        sent=b"abcd",
    ),
    _post(
        "two lengths, one before a space",
        "MultipleContentLength",
        b"X: a",
        b" Content-Length: 4",
        _LENGTH_3,
        sent=b"abcd",
    ),
    _post(
        "two lengths, one with an underscore",
        "MultipleContentLength",
        _LENGTH_3,
        b"Content_Length: 4",
        sent=b"abcd",
    ),
    *(
        _post(f"the length {value!r}", "BadContentLength", b"Content-Length: %b" % value, sent=b"abc")
        for value in (
            b"3, 3",
            b"3,3",
            b"3 3",
            b"3.0",
            b"+3",
            b"-3",
            b"0x3",
            b"3e0",
            b"three",
            b"$3",
            b"3;",
            b"\x013",
            b"3\x01",
            b"3\xa0",
            "\uff13".encode(),
            b"18446744073709551616",
            b"9" * 40,
        )
    ),
    _post("a folded length", "BadContentLength", b"Content-Length: 3", b" 4", sent=b"abc"),
    *(
        _post(
            f"the coding {value!r}",
            "BadTransferEncoding",
            b"Transfer-Encoding: %b" % value,
            sent=CHUNKS,
            status=501,
        )
        for value in (
            b"xchunked",
            b"chunk",
            b"chunkedx",
            b"chunked x",
            b"cow",
            b"\x01chunked",
            b"chunked\x01",
            b"chunked\x0b",
            b"\xa0chunked",
            b"chunked\xa0",
            b'"chunked"',
            b"chunked,",
            b",chunked",
            b"",
        )
    ),
    _post(
        "chunks, and another coding in two lines",
        "BadTransferEncoding",
        _CHUNKED,
        b"Transfer-Encoding: cow",
        sent=CHUNKS,
        status=501,
    ),
    _post(
        "a folded coding",
        "BadTransferEncoding",
        b"Transfer-Encoding: chunked",
        b" x",
        sent=CHUNKS,
        status=501,
    ),
    _post("chunks twice", "MultipleTransferEncodingChunked", _CHUNKED, _CHUNKED, sent=CHUNKS),
    _post(
        "chunks twice in one line",
        "MultipleTransferEncodingChunked",
        b"Transfer-Encoding: chunked, chunked",
        sent=CHUNKS,
    ),
    _post(
        "chunks twice, once behind a space",
        "MultipleTransferEncodingChunked",
        b"Transfer-Encoding : chunked",
        _CHUNKED,
        sent=CHUNKS,
    ),
    _post(
        "chunks twice, and a length",
        "MultipleTransferEncodingChunked",
        _CHUNKED,
        _CHUNKED,
        _LENGTH_3,
        sent=CHUNKS,
    ),
    *(
        _post(f"the line {line!r}", "BadHeader", line, _LENGTH_3, sent=b"abc")
        for line in (
            b"X\x00: a",
            b"\x00X: a",
            b"X: \x00a",
            b"X: a\x00",
            b"X: a\x00Content-Length: 4",
            b"\x00Transfer-Encoding: chunked",
            b"Transfer-Encoding: \x00chunked",
            b"X\r: a",
            b"\rX: a",
            b"X: a\rContent-Length: 4",
            b"X: a\r",
            b"\rTransfer-Encoding: chunked",
            b"X: a\nContent-Length: 4",
            b"X: a\n Content-Length: 4",
            b"X\n: a",
        )
    ),
    _line("a NUL in the method", "BadMethod", b"GE\x00T /a HTTP/1.1"),
    _line("a control character in the method", "BadMethod", b"GET\x01 /a HTTP/1.1"),
    _line("a tab in the method", "BadMethod", b"GE\tT /a HTTP/1.1"),
    _line("a colon in the method", "BadMethod", b"GET: /a HTTP/1.1"),
    _line("a NUL in the target", "BadUri", b"GET /a\x00b HTTP/1.1"),
    _line("a return in the target", "BadUri", b"GET /a\rb HTTP/1.1"),
    _line("a line feed in the target", "BadUri", b"GET /a\nHTTP/1.1 HTTP/1.1"),
    _line("a whole request in the target", "BadUri", b"GET /a\tHTTP/1.1"),
    _line("two versions", "BadVersion", b"GET /a HTTP/1.1 HTTP/1.1"),
    _line("another protocol", "BadVersion", b"GET /a RTSP/1.0"),
    _line("a version of one number", "BadVersion", b"GET /a HTTP/11"),
    _line("a version of two digits", "BadVersion", b"GET /a HTTP/1.10"),
    _line("a version in lower case", "BadVersion", b"GET /a http/1.1"),
)

"""The head of a client's request, for the rules and for the target."""

from __future__ import annotations

from mclass_tf.local.balancer.messages.desync import Desync, resembles
from mclass_tf.local.balancer.messages.head import Head, RequestRefusedError
from mclass_tf.local.balancer.messages.limits import HEADER, HEADERS, REQUEST_HEAD, REQUEST_LINE

_MAX_FORWARDED_ADDRESSES = 30  # in X-Forwarded-For
_SHORTEST_FRAMING = len(b"contentlength")
_WITHOUT_BODY = frozenset((b"GET", b"HEAD"))


class IrregularHeadError(Exception):
    """The head needs a closer look than that of a strict parser: see `head.py`."""


class ClientRequest:
    """`headers` are triples: the name in lower case, the name as received, the value.

    `length` is that of a body that is not chunked. `desync` is AWS's classification of a non-compliant request, see `desync.py`.
    `drops_headers`: the client sent invalid headers that are not among `headers`, see `head.py`.
    """

    __slots__ = (
        "connection",
        "cookies",
        "desync",
        "drops_headers",
        "expects_continue",
        "forwarded_for",
        "has_upgrade",
        "headers",
        "host",
        "is_chunked",
        "keeps_alive",
        "keeps_target",
        "length",
        "method",
        "path",
        "query",
        "received_at",
        "size",
        "started",
        "target",
        "trace",
        "version",
    )

    def __init__(self, *, received_at: float, started: float) -> None:
        self.received_at = received_at  # seconds since the epoch
        self.started = started  # of the event loop's clock
        self.target = b""
        self.headers: list[tuple[bytes, bytes, bytes]] = []
        self.size = 0
        self.method = b""
        self.version = "1.1"
        self.keeps_alive = True
        self.keeps_target = True  # whether the connection to the target may carry another request
        self.path, self.query = b"", b""
        self.host: bytes | None = None
        self.connection = b""
        self.length: int | None = None
        self.desync: Desync | None = None
        self.is_chunked = False
        self.expects_continue = False
        self.forwarded_for = b""
        self.trace = b""
        self.cookies = b""
        self.has_upgrade = False
        self.drops_headers = False

    def add_target(self, part: bytes) -> None:
        """Append a part of the request target. Parts arrive in order."""
        self.target += part
        if len(self.target) > REQUEST_LINE:
            raise RequestRefusedError(414)

    def add_header(self, name: bytes, value: bytes) -> None:
        size = len(name) + len(value) + 4
        self.size += size
        headers = self.headers
        if size > HEADER or self.size > REQUEST_HEAD or len(headers) >= HEADERS:
            raise RequestRefusedError(400)
        headers.append((name.lower(), name, value))

    def complete(
        self, *, method: bytes, version: str, keeps_alive: bool, has_upgrade: bool, head: Head | None = None
    ) -> None:
        """Interpret the complete head. `head` is the original of a rewritten head.

        Raise RequestRefusedError if it may not be forwarded, and IrregularHeadError if it must be rewritten.
        """
        self.method, self.version = method, version
        self.keeps_alive, self.has_upgrade = keeps_alive, has_upgrade
        if head is not None:
            self._take_head(head)
        self._take_target()
        for lower, _, value in self.headers:
            take = _HEADER_READERS.get(lower)
            if take is not None:
                take(self, value)
            elif len(lower) >= _SHORTEST_FRAMING and resembles(lower):
                raise IrregularHeadError
        self.size += len(method) + len(self.target) + 14
        has_framing = self.is_chunked or self.length is not None
        is_undefined = method in _WITHOUT_BODY or (self.is_chunked and version == "1.0")
        if head is None and has_framing and is_undefined:
            raise IrregularHeadError
        self._check()

    @property
    def is_websocket(self) -> bool:
        return self.has_upgrade and self.value(b"upgrade").lower() == b"websocket"

    @property
    def is_head(self) -> bool:
        return self.method == b"HEAD"

    @property
    def has_body(self) -> bool:
        return self.is_chunked or bool(self.length)

    def value(self, name: bytes) -> bytes:
        """Return the first value of the header; empty without one."""
        return next((value for lower, _, value in self.headers if lower == name), b"")

    def values(self, name: bytes) -> list[bytes]:
        return [value for lower, _, value in self.headers if lower == name]

    def _take_head(self, head: Head) -> None:
        self.target, self.version, self.desync = head.target, head.version, head.desync
        self.drops_headers = head.drops_headers
        if head.is_last:
            self.keeps_alive = self.keeps_target = False

    def _take_target(self) -> None:
        target = self.target
        if target[:1] != b"/" and target != b"*":
            target = self._take_authority(target)
        self.path, _, self.query = target.partition(b"?")

    def _take_authority(self, target: bytes) -> bytes:
        """Turn an absolute-form target into a path and a Host header: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2."""
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in {b"http", b"https"}:
            raise RequestRefusedError(400)
        host, slash, path = rest.partition(b"/")
        self.headers = [header for header in self.headers if header[0] != b"host"]
        self.headers.append((b"host", b"Host", host))
        self.target = slash + path or b"/"
        return self.target

    def _take_host(self, value: bytes) -> None:
        if self.host is not None:
            raise RequestRefusedError(400)
        self.host = value.lower()

    def _take_connection(self, value: bytes) -> None:
        self.connection = b"%b,%b" % (self.connection, value) if self.connection else value

    def _take_length(self, value: bytes) -> None:
        try:
            self.length = int(value)
        except ValueError:  # unreachable: the parser checks it
            raise RequestRefusedError(400) from None

    def _take_encoding(self, value: bytes) -> None:
        if value.strip().lower() != b"chunked":
            raise IrregularHeadError
        self.is_chunked = True

    def _take_expect(self, value: bytes) -> None:
        self.expects_continue = value.lower() == b"100-continue"

    def _take_forwarded_for(self, value: bytes) -> None:
        self.forwarded_for = b"%b, %b" % (self.forwarded_for, value) if self.forwarded_for else value

    def _take_trace(self, value: bytes) -> None:
        self.trace = value

    def _take_cookie(self, value: bytes) -> None:
        self.cookies = b"%b; %b" % (self.cookies, value) if self.cookies else value

    def _check(self) -> None:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html."""
        if self.method == b"TRACE":
            raise RequestRefusedError(405)
        if self.method == b"CONNECT" or (self.host is None and self.version == "1.1"):
            raise RequestRefusedError(400)
        if self.has_upgrade and self.has_body:
            raise RequestRefusedError(400)  # the parser cannot tell where such a body ends
        if self.forwarded_for and self.forwarded_for.count(b",") >= _MAX_FORWARDED_ADDRESSES:
            raise RequestRefusedError(463)


_HEADER_READERS = {
    b"host": ClientRequest._take_host,  # noqa: SLF001
    b"connection": ClientRequest._take_connection,  # noqa: SLF001
    b"content-length": ClientRequest._take_length,  # noqa: SLF001
    b"transfer-encoding": ClientRequest._take_encoding,  # noqa: SLF001
    b"expect": ClientRequest._take_expect,  # noqa: SLF001
    b"x-forwarded-for": ClientRequest._take_forwarded_for,  # noqa: SLF001
    b"x-amzn-trace-id": ClientRequest._take_trace,  # noqa: SLF001
    b"cookie": ClientRequest._take_cookie,  # noqa: SLF001
}

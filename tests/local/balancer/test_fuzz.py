"""The load balancer under random messages from clients and targets.

Whatever comes, it answers or closes, says nothing on its log, goes on serving others, and never lets the other side see more messages than
there were. HYPOTHESIS_PROFILE=nightly looks further.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from mclass_tf.local.balancer import __main__ as balancer
from mclass_tf.local.balancer.client.connection import ClientConnection
from mclass_tf.local.balancer.report import AccessLog
from mclass_tf.local.balancer.snapshot import HealthCheck, Target
from tests.local.data_plane import HEALTH_PATH, PATIENCE, Within, group, plane, world
from tests.within import within

_ATTRIBUTES = {"access_logs.s3.enabled": "true", "idle_timeout.timeout_seconds": "1"}
_SHORT = 0.05  # seconds
_TRIES = 3
_TURNS = 20  # of the event loop, until local data has been read
_GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
_READABLE = bytes(byte if byte < 0x80 else ord("x") for byte in range(256))  # h11 refuses others in a target
_LINE = re.compile(r'(?:(?:"(?:[^"\\]|\\x[0-9A-F]{2})*"|[^ "]+)(?: |$)){30}', re.ASCII)

# Pieces of messages, right ones and wrong ones, from which both sides' streams are made.

_NAMES = st.sampled_from(
    (
        b"Host",
        b"Content-Length",
        b"content-length",
        b"Transfer-Encoding",
        b"Transfer_Encoding",
        b"Content-Length ",
        b"Connection",
        b"Upgrade",
        b"Expect",
        b"X-Forwarded-For",
        b"X-Amzn-Trace-Id",
        b"Cookie",
        b"Trailer",
        b"X",
        b"",
        b"\x00",
        b" folded",
    )
)
_VALUES = st.sampled_from(
    (
        b"a",
        b"0",
        b"3",
        b"03",
        b"+3",
        b"3, 3",
        b"99999999999999999999",
        b"chunked",
        b"Chunked ",
        b"gzip, chunked",
        b"identity",
        b"close",
        b"keep-alive",
        b"Upgrade",
        b"websocket",
        b"h2c",
        b"100-continue",
        b'"\\\x85\xff',
        b"\x1b[2J",
        b"Root=1;Self=2",
        b"",
        b"a" * 17_000,
    )
) | st.binary(max_size=4)
_ENDS = st.sampled_from((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""))
_HEADERS = st.lists(st.tuples(_NAMES, st.just(b": "), _VALUES, _ENDS).map(b"".join), max_size=6).map(b"".join)
_BODIES = st.sampled_from(
    (
        b"",
        b"abc",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n",
        b"3\r\nabcd\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x81\x03abc",
    )
)
_REQUEST_LINES = st.tuples(
    st.sampled_from((b"GET", b"POST", b"HEAD", b"OPTIONS", b"PRI", b"CONNECT", b"G\x00T")),
    st.just(b" "),
    st.sampled_from(
        (
            b"/",
            b"*",
            b"http://b/c?d",
            b"/\xff",
            b"/ b",
            b"/\tb",
            b"",
            b'/"\\',
            b"//",
            b"a:443",
            b"/" + b"a" * 17_000,
        )
    ),
    st.just(b" "),
    st.sampled_from(
        (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"RTSP/1.0", b"HTTP/11")
    ),
    _ENDS,
).map(b"".join)
_STATUS_LINES = st.tuples(
    st.sampled_from((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"RTSP/1.0")),
    st.just(b" "),
    st.sampled_from(
        (b"200", b"204", b"304", b"404", b"100", b"101", b"103", b"099", b"000", b"600", b"2", b"2000")
    ),
    st.sampled_from((b" OK", b" ", b"", b" O\x00K", b" " + b"a" * 40_000)),
    _ENDS,
).map(b"".join)
_HOST = st.sampled_from((b"Host: a\r\n", b""))


def _messages(first: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Return one to three messages, cut into pieces at random positions."""
    whole = st.tuples(first, _HOST, _HEADERS, _ENDS, _BODIES).map(b"".join)
    data = st.lists(whole | st.binary(max_size=8), min_size=1, max_size=3).map(b"".join)
    return st.tuples(data, st.lists(st.integers(0, 400), max_size=3)).map(_cut)


def _cut(drawn: tuple[bytes, Sequence[int]]) -> list[bytes]:
    data, places = drawn
    marks = sorted({0, *(place for place in places if place < len(data)), len(data)})
    return [data[start:end] for start, end in pairwise(marks)]


def _run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=balancer.new_loop) as runner:
        runner.run(within(test, PATIENCE))


class _StrictTarget:
    """Reads requests with another parser, which raises on ambiguous ones, and answers each."""

    def __init__(self) -> None:
        self.requests = 0
        self.complaints: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=128 * 1024)
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data((await reader.read(65536)).translate(_READABLE))
                elif isinstance(event, h11.ConnectionClosed):
                    return
                elif isinstance(event, h11.Request):
                    self.requests += event.target != HEALTH_PATH.encode()
                elif isinstance(event, h11.EndOfMessage):
                    ok = h11.Response(status_code=200, headers=[("content-length", "0")])
                    for answer in (ok, h11.EndOfMessage()):
                        writer.write(connection.send(answer) or b"")
                    connection.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if "incomplete" not in str(error) and "closed connection" not in str(error):  # disconnected
                self.complaints.append(str(error))
        except (h11.LocalProtocolError, ConnectionError):
            pass  # the connection has ended
        finally:
            writer.transport.abort()


class _RawTarget:
    """Answers the first request with given pieces, the others validly. Does not wait long for a request."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces: Sequence[bytes] = pieces

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            while True:
                async with asyncio.timeout(_SHORT):
                    head = await reader.readuntil(b"\r\n\r\n")
                pieces: Sequence[bytes] = (_GOOD,)
                if HEALTH_PATH.encode() not in head and self._pieces:
                    pieces, self._pieces = self._pieces, ()
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        writer.close()


@asynccontextmanager
async def _served(target: _StrictTarget | _RawTarget) -> AsyncIterator[Within]:
    """Run load balancers in front of one target."""
    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await target.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    at = Target(ip="10.0.0.1", port=3000, address=server.sockets[0].getsockname()[:2])
    check = HealthCheck(path=HEALTH_PATH, interval=300)
    async with plane(world(group("blue", at, check=check), attributes=_ATTRIBUTES)) as made:
        yield made
        made.close_clients()
        await _until(lambda: not made.connections)
        made._plane.telemetry.flush()
        for line in (line for report in made.of(AccessLog) for line in report.lines):
            assert _LINE.fullmatch(line), line
    server.close()
    for writer in connections:
        writer.transport.abort()
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def _has_read(made: Within, connection: ClientConnection) -> None:
    """Wait until the load balancers have processed the client's bytes as far as possible."""
    await _until(
        lambda: (
            connection not in made.connections
            or (connection.is_awaiting_client and not connection.reader.inbox.data)
        )
    )


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  every step of the loop may make it true, and there are few
            await asyncio.sleep(0)


async def _is_served(made: Within, body: bytes) -> None:
    """Expect other clients to get their own answers, at the latest when the target no longer closes connections."""
    for _ in range(_TRIES):
        got = await (await made.client()).ask("/good")
        if got.status == 200:
            assert got.body == body
            return
        assert got.status == 502
    raise AssertionError("no answer any more")


def _answers(data: bytes, *, method: bytes = b"GET") -> list[int]:
    """Parse a client's received bytes with another parser; return the statuses. Cut-off answers are no error."""
    connection, statuses = h11.Connection(h11.CLIENT, max_incomplete_event_size=128 * 1024), []
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    while (event := connection.next_event()) is not h11.NEED_DATA:
        if isinstance(event, h11.Response):
            statuses.append(event.status_code)
        elif isinstance(event, h11.EndOfMessage):
            rest, _ = connection.trailing_data
            assert rest == b""
            break
    return statuses


@given(pieces=_messages(_REQUEST_LINES))
@example(pieces=[b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" * 100])
@example(pieces=[b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" * 3, b"x"])
@example(pieces=[b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 03 \r\n\r\n", b"abcGET / HTTP/1.1\r\n"])
@example(pieces=[b'POST / HTTP/1.1\r\nHost: "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'])
def test_whatever_a_client_sends_a_target_sees_exactly_the_forwarded_requests(pieces: list[bytes]) -> None:
    async def run() -> None:
        target = _StrictTarget()
        async with _served(target) as made:
            client = await made.client()
            await _until(lambda: bool(made.connections))
            connection = made.connections[-1]
            with suppress(ConnectionError):
                for piece in pieces:
                    client.send(piece)
                    await client.writer.drain()
                    await asyncio.sleep(0)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            await _has_read(made, connection)
            await _is_served(made, b"")
        assert target.complaints == []
        assert target.requests == made.count("RequestCount", "blue")

    _run(run())


@given(pieces=_messages(_STATUS_LINES), method=st.sampled_from(("GET", "HEAD")))
@example(pieces=[b"HTTP/1.1 099 Nearly\r\nContent-Length: 2\r\n\r\nok"], method="GET")
@example(pieces=[b"HTTP/1.1 100 Continue\r\n\r\n" * 3000], method="GET")
@example(pieces=[b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc"], method="GET")
@example(pieces=[_GOOD, _GOOD], method="GET")
def test_whatever_a_target_answers_a_client_gets_at_most_one_answer_and_others_get_theirs(
    pieces: list[bytes], method: str
) -> None:
    async def run() -> None:
        async with _served(_RawTarget(pieces)) as made:
            client = await made.client()
            client.send(f"{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            statuses = _answers(await client.rest(), method=method.encode())
            assert len(statuses) == 1
            assert statuses[0] in range(200, 600)
            await _is_served(made, b"good")

    _run(run())

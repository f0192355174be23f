"""Clients cannot fill the load balancer's memory, block it, smuggle requests or forge its log."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from contextlib import suppress

import pytest

from mclass_tf.local.balancer.capacity import Capacity
from mclass_tf.local.balancer.report import Failure
from mclass_tf.local.balancer.snapshot import Target
from mclass_tf.local.balancer.telemetry import LogBuffer
from tests.local.data_plane import (
    PATIENCE,
    Message,
    Plane,
    answer,
    asynchronous,
    fixed,
    group,
    listener,
    plane,
    rule,
    sites,
    world,
)

_FIXED = [listener(rule(fixed(200, "ok")))]
_IDLE_1 = {"idle_timeout.timeout_seconds": "1"}
_LOGGED = {"access_logs.s3.enabled": "true"}
_GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_AHEAD = 8 * 1024 * 1024  # bytes in buffers, including the client's, when a refusal arrives
_ALL = 64 * 1024 * 1024  # bytes that a client sends unless stopped
_READ_AT_ONCE = 64 * 1024  # bytes


async def _hang(_: Message, __: asyncio.StreamReader, ___: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


ENDLESS = {
    "a path": (b"GET /", b"a", 414),
    "the spaces before a path": (b"GET ", b" ", 400),
    "empty lines": (b"", b"\r\n", 400),
    "a method": (b"", b"P", 400),
    "a name": (_GET, b"a", 400),
    "a value": (_GET + b"X: ", b"a", 400),
    "the spaces before a value": (_GET + b"X:", b" ", 400),
    "headers": (_GET, b"X: a\r\n", 400),
    "headers without a value": (_GET, b"a:\r\n", 400),
    "a chunk's extension": (_CHUNKED + b"3;x=", b"a", 400),
    "a chunk's size": (_CHUNKED, b"0", 400),
    "a trailer's name": (_CHUNKED + b"0\r\n", b"a", 400),
    "a trailer's value": (_CHUNKED + b"0\r\nX: ", b"a", 400),
    "trailers": (_CHUNKED + b"0\r\n", b"X: a\r\n", 400),
}


@pytest.mark.parametrize("name", ENDLESS)
@asynchronous
async def test_endless_requests_are_refused_before_they_fill_the_memory(name: str) -> None:
    begun, piece, status = ENDLESS[name]
    async with sites(_hang) as (site,), plane(world(group("blue", site))) as made:
        site.reads_bodies = False
        await made.healthy(site)
        client = await made.client()
        client.send(begun)
        refused = asyncio.ensure_future(client.answer())
        sent = 0
        while not refused.done() and sent < _ALL:
            client.send(piece * (65536 // len(piece)))
            sent += 65536
            with suppress(ConnectionError):
                await client.writer.drain()
            await asyncio.sleep(0)
        got = await refused
        assert (got.status, got.header("connection")) == (status, "close")
        assert sent < _AHEAD


@asynchronous
async def test_a_long_body_with_small_chunks_is_not_refused() -> None:
    async def count(_: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = 0
        while size := int(await reader.readline(), 16):
            body += len((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
        writer.write(answer(str(body).encode()))

    async with sites(count) as (site,), plane(world(group("blue", site))) as made:
        site.reads_bodies = False
        await made.healthy(site)
        client = await made.client()
        client.send(_CHUNKED + b"1;some=thing\r\nx\r\n" * 20_000 + b"0\r\nTrailer: a\r\n\r\n")
        assert (await client.answer()).body == b"20000"


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@asynchronous
async def test_thousands_of_upgrade_requests_at_once_are_answered_in_turn(
    protocol: str,
) -> None:
    async with plane(world(listeners=_FIXED)) as made:
        client = await made.client()
        client.send((_GET + f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode()) * 3000)
        assert {(await client.answer()).status for _ in range(3000)} == {200}


@asynchronous
async def test_thousands_of_declined_upgrades_are_answered_in_turn() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send((_GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n") * 1100)
        assert {(await client.answer()).status for _ in range(1100)} == {200}


@asynchronous
async def test_requests_wait_unread_while_an_earlier_one_is_answered() -> None:
    async with sites(_hang) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        for begun in (b"", _CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", _POST + b"Content-Length: 3\r\n\r\nabc"):
            site.reads_bodies = not begun
            client = await made.client()
            client.send(begun + (_GET + b"\r\n") * 100_000)
            connection = made.connections[-1]
            await made.until(lambda connection=connection: "turn" in connection.holds)  # type: ignore[misc]
            assert len(connection.pipeline.exchanges) < 64
            assert len(connection.reader.inbox.data) <= 2 * _READ_AT_ONCE


@asynchronous
async def test_a_client_that_reads_no_answers_is_not_read_any_more() -> None:
    async with plane(world(listeners=_FIXED)) as made:
        client = await made.client()
        client.pause()
        client.send((_GET + b"\r\n") * 400_000)
        connection = made.connections[-1]
        await made.until(lambda: connection.is_slow and "turn" in connection.holds)
        assert connection._transport.get_write_buffer_size() < 2 * _READ_AT_ONCE
        assert len(connection.reader.inbox.data) <= 2 * _READ_AT_ONCE
        assert (await (await made.client()).ask()).status == 200
        client.resume()
        assert {(await client.answer()).status for _ in range(2000)} == {200}


@asynchronous
async def test_one_client_with_thousands_of_requests_does_not_delay_others() -> None:
    async with plane(world(listeners=_FIXED)) as made:
        greedy, modest = await made.client(), await made.client()
        greedy.send((_GET + b"\r\n") * 20_000)
        assert (await modest.ask()).status == 200
        await made.until(lambda: made.count("HTTP_Fixed_Response_Count") > 0)
        assert (await greedy.answer()).status == 200


@asynchronous
async def test_buffering_a_body_in_chunks_of_one_byte_is_cheap() -> None:
    nobody = Target(ip="10.0.0.1", port=3000, address=None)
    async with plane(world(group("blue", nobody), attributes=_IDLE_1)) as made:
        client = await made.client()
        before = time.process_time()
        client.send(_CHUNKED + b"1\r\nx\r\n" * 80_000)
        await made.until(lambda: "target" in made.connections[-1].holds)
        assert time.process_time() - before < PATIENCE / 4
        (exchange,) = made.connections[-1].pipeline.exchanges
        assert exchange.sender.waiting < 2 * _READ_AT_ONCE
        assert (await client.answer()).status == 408


@asynchronous
async def test_bytes_after_the_last_request_keep_no_connection_alive() -> None:
    async with sites(_hang) as (site,), plane(world(group("blue", site), attributes=_IDLE_1)) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(_GET + b"Connection: close\r\n\r\n")
        answered = asyncio.ensure_future(client.answer())
        while not answered.done():
            client.send(b"x")
            await asyncio.sleep(0.05)
        assert (await answered).status == 504


@asynchronous
async def test_a_head_may_have_a_thousand_headers_and_no_more() -> None:
    async with plane(world(listeners=_FIXED)) as made:
        for number, status in ((999, 200), (1000, 400)):
            client = await made.client()
            client.send(_GET + b"a: b\r\n" * number + b"\r\n")
            assert (await client.answer()).status == status


# Requests that another server may understand differently

_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
AMBIGUOUS = {
    "UndefinedContentLengthSemantics": _GET + b"Content-Length: %d\r\n\r\n%b" % (len(_SMUGGLED), _SMUGGLED),
    "UndefinedTransferEncodingSemantics": _GET + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "SuspiciousHeader": _POST + b"Transfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
}


@pytest.mark.parametrize("reason", AMBIGUOUS)
@asynchronous
async def test_an_ambiguous_request_is_the_last_one_on_both_of_its_connections(reason: str) -> None:
    async with sites(None) as (site,), plane(world(group("blue", site), attributes=_LOGGED)) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(AMBIGUOUS[reason] + _SMUGGLED)
        got = await client.answer()
        assert (got.status, got.header("connection")) == (200, "close")
        assert await client.rest() == b""
        assert [asked.path for asked in site.requests] == ["/"]
        await made.until(lambda: not site.asked_on & site.connections)
        (line,) = await made.log_lines()
        assert _fields(line)[27:29] == ["Ambiguous", reason]
        await made.until(lambda: made.count("DesyncMitigationMode_NonCompliant_Request_Count") == 1)


@pytest.mark.parametrize(
    ("mode", "request_", "status", "connection"),
    [
        ("strictest", AMBIGUOUS["SuspiciousHeader"], 400, "close"),
        ("strictest", _GET + b"Content-Length: 0\r\n\r\n", 400, "close"),
        ("strictest", _GET + b"\r\n", 200, "keep-alive"),
        ("defensive", _GET + b"Content-Length: 0\r\n\r\n", 200, "keep-alive"),
        ("monitor", AMBIGUOUS["SuspiciousHeader"], 200, "keep-alive"),
    ],
)
@asynchronous
async def test_the_desync_mitigation_mode_decides(
    mode: str, request_: bytes, status: int, connection: str
) -> None:
    attributes = {"routing.http.desync_mitigation_mode": mode}
    async with plane(world(listeners=_FIXED, attributes=attributes)) as made:
        client = await made.client()
        client.send(request_)
        got = await client.answer()
        assert (got.status, got.header("connection")) == (status, connection)


# The access log

_FIELD = re.compile(r'"((?:[^"\\]|\\x[0-9A-F]{2})*)"|([^ "]+)')
_NUMBER_OF_FIELDS = 30


def _fields(line: str) -> list[str]:
    """Parse a line as the Athena table does."""
    assert line.isascii()
    assert line.isprintable()
    found = [match[1] if match[2] is None else match[2] for match in _FIELD.finditer(line)]
    assert " ".join(match[0] for match in _FIELD.finditer(line)) == line
    assert len(found) == _NUMBER_OF_FIELDS
    return found


_FORGED = '" 200 \\ \\" \x85\x9b\xff\u00a0'.encode("latin-1")
LOGGED = {
    "host": (
        b"GET / HTTP/1.1\r\nHost: a%b\r\n\r\n",
        12,
        r"GET http://a\x22 200 \x5C \x5C\x22 \x85\x9B\xFF\xA0:80/ HTTP/1.1",
    ),
    "agent": (_GET + b"User-Agent: a%b\r\n\r\n", 13, r"a\x22 200 \x5C \x5C\x22 \x85\x9B\xFF\xA0"),
    "trace": (
        _GET + b"X-Amzn-Trace-Id: Root=a%b\r\n\r\n",
        17,
        r"Root=a\x22 200 \x5C \x5C\x22 \x85\x9B\xFF\xA0",
    ),
}


@pytest.mark.parametrize("field", LOGGED)
@asynchronous
async def test_no_client_can_end_a_field_of_the_access_log(field: str) -> None:
    request_, number, expected = LOGGED[field]
    async with sites(None) as (site,), plane(world(group("blue", site), attributes=_LOGGED)) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(request_ % _FORGED)
        assert (await client.answer()).status == 200
        (line,) = await made.log_lines()
        assert expected in _fields(line)[number]


@asynchronous
async def test_quotes_in_a_path_and_in_a_redirect_stay_within_their_fields() -> None:
    redirect = {"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_302", "Path": "/한#{path}"}}
    listeners = [listener(rule(redirect))]
    async with plane(world(listeners=listeners, attributes=_LOGGED)) as made:
        client = await made.client()
        client.send(b'GET /a"\\b HTTP/1.1\r\nHost: "\xc3\xa9\xff\r\n\r\n')
        assert (await client.answer()).header("location") == 'http://"%C3%A9%FF:80/%ED%95%9Ca"\\b'
        fields = _fields((await made.log_lines())[0])
        assert fields[12] == r"GET http://\x22\xC3\xA9\xFF:80/a%22\x5Cb HTTP/1.1"
        assert fields[23] == r"http://\x22%C3%A9%FF:80/%ED%95%9Ca\x22\x5Cb"


@asynchronous
async def test_an_answered_request_with_an_invalid_body_is_logged_and_counted_once() -> None:
    async with plane(world(listeners=_FIXED, attributes=_LOGGED)) as made:
        client = await made.client()
        client.send(_CHUNKED + b"no number\r\n")
        assert (await client.answer()).status == 200
        assert await client.rest() == b""
        (line,) = await made.log_lines()
        assert " 200 - " in line
        assert made.count("HTTP_Fixed_Response_Count") == 1


@asynchronous
async def test_a_refused_request_is_logged() -> None:
    async with plane(world(listeners=_FIXED, attributes=_LOGGED)) as made:
        for data in (b'"\x00\r\n\r\n', b'GET /"\x00', _GET + b'"\x00"', b"GET /" + b"a" * 20_000):
            client = await made.client()
            client.send(data)
            assert (await client.answer()).status in {400, 414}
        for line in await made.log_lines(4):
            assert len(_fields(line)[12]) < 20_000


def test_log_lines_per_second_and_per_report_are_bounded() -> None:
    lines = LogBuffer()
    for _ in range(1000):
        lines.add("a" * 64 * 1024)
    batches = list(lines.batches())
    assert lines.lost > 0
    assert sum(map(len, batches)) == 1000 - lines.lost
    assert all(sum(map(len, batch)) <= 1024 * 1024 for batch in batches)


@asynchronous
async def test_a_failure_report_is_short_however_long_the_path_is() -> None:
    async with plane(world(group("blue"))) as made:
        assert (await (await made.client()).ask("/" + "a" * 16_000)).status == 503
        assert len((await made.failure()).path) == 2048
        assert made.of(Failure) != []


# More clients than descriptors


async def _rejected(made: Plane) -> bool:
    client = await made.client()
    client.send(_GET + b"\r\n")
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        return (await client.answer()).status == 0
    return True


@asynchronous
async def test_a_client_that_keeps_the_load_balancer_waiting_makes_room_for_others() -> None:
    waiting: Mapping[str, bytes] = {
        "idle": b"",
        "in its head": _GET,
        "in its body": _POST + b"Content-Length: 3\r\n\r\n",
    }
    async with (
        sites(_hang) as (site,),
        plane(world(group("blue", site), listeners=None), capacity=Capacity(len(waiting) + 1)) as made,
    ):
        site.reads_bodies = False
        await made.healthy(site)
        at_work = await made.client()
        at_work.send(_GET + b"\r\n")
        slow = [await made.client() for _ in waiting]
        for client, data in zip(slow, waiting.values(), strict=True):
            client.send(data)
        await made.until(lambda: len(site.requests) == 2)
        assert await _rejected(made)  # all were active within the last second
        for connection in made.connections:
            connection.touched -= 2
        site.handler = None
        new = [await made.client() for _ in waiting]
        assert [(await client.ask()).status for client in new] == [200] * len(waiting)
        assert [await client.rest() for client in slow] == [b""] * len(waiting)
        for connection in made.connections:
            connection.touched = time.monotonic()
        assert await _rejected(made)
        await made.until(lambda: made.count("RejectedConnectionCount") == 2)
        assert len(made.connections) == len(waiting) + 1
        assert not at_work.reader.at_eof()


@asynchronous
async def test_connections_that_end_make_room() -> None:
    async with plane(world(listeners=_FIXED), capacity=Capacity(1)) as made:
        for _ in range(3):
            client = await made.client()
            assert (await client.ask()).status == 200
            client.close()
            await made.until(lambda: made.connections == [])

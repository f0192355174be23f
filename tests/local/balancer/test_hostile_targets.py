"""Targets cannot fill the load balancer's memory, send invalid answers or stall their health checks."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from mclass_tf.local.balancer.capacity import Capacity
from mclass_tf.local.balancer.report import Metrics
from mclass_tf.local.balancer.snapshot import HealthCheck
from tests.local.data_plane import (
    HEALTH_PATH,
    PATIENCE,
    Message,
    answer,
    asynchronous,
    group,
    plane,
    sites,
    world,
)
from tests.within import within

_AHEAD = 8 * 1024 * 1024  # bytes in buffers when the load balancer closes the connection
_ALL = 64 * 1024 * 1024  # bytes that a target sends unless stopped
_HEAD = b"HTTP/1.1 200 OK\r\n"
_BEGUN = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"

ENDLESS_HEADS = {
    "empty lines": (b"", b"\r\n"),
    "a reason": (b"HTTP/1.1 200 ", b"a"),
    "a name": (_HEAD, b"a"),
    "a value": (_HEAD + b"X: ", b"a"),
    "the spaces before a value": (_HEAD + b"X:", b" "),
    "headers": (_HEAD, b"X: a\r\n"),
    "headers without a value": (_HEAD, b"a:\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"),
}
ENDLESS_BODIES = {
    "a chunk's extension": (_BEGUN + b"3;x=", b"a"),
    "a chunk's size": (_BEGUN, b"0"),
    "a trailer's name": (_BEGUN + b"0\r\n", b"a"),
    "a trailer's value": (_BEGUN + b"0\r\nX: ", b"a"),
    "trailers": (_BEGUN + b"0\r\n", b"X: a\r\n"),
}


class _Endless:
    """Sends an endless answer and counts the bytes until the connection is closed."""

    def __init__(self, begun: bytes, piece: bytes) -> None:
        self._begun, self._piece = begun, piece * (65536 // len(piece))
        self.sent = 0
        self.was_stopped = asyncio.Event()

    async def __call__(self, _: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._begun)
        with suppress(ConnectionError):
            while self.sent < _ALL:
                writer.write(self._piece)
                self.sent += len(self._piece)
                await writer.drain()
                await asyncio.sleep(0)
        self.was_stopped.set()


@pytest.mark.parametrize("name", ENDLESS_HEADS)
@asynchronous
async def test_a_head_without_an_end_is_a_502(name: str) -> None:
    endless = _Endless(*ENDLESS_HEADS[name])
    async with sites(endless) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        assert (await client.ask()).status == 502
        assert (await made.failure()).reason == "malformed_response"
        await within(endless.was_stopped.wait(), PATIENCE)
        assert endless.sent < _AHEAD
        site.handler = None
        assert (await client.ask()).status == 200


@pytest.mark.parametrize("name", ENDLESS_BODIES)
@asynchronous
async def test_an_answer_with_endless_trailers_or_chunk_extensions_is_broken_off(name: str) -> None:
    endless = _Endless(*ENDLESS_BODIES[name])
    async with sites(endless) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        got = await client.rest()
        assert got.endswith(b"\r\n\r\n3\r\nabc\r\n")
        await within(endless.was_stopped.wait(), PATIENCE)
        assert endless.sent < _AHEAD


NO_ANSWERS = {
    "a status of 0": b"HTTP/1.1 000 Nothing\r\nContent-Length: 2\r\n\r\nok",
    "a status below 100": b"HTTP/1.1 099 Nearly\r\nContent-Length: 2\r\n\r\nok",
    "a status above 599": b"HTTP/1.1 600 Too Far\r\nContent-Length: 2\r\n\r\nok",
    "a status of 999": b"HTTP/1.1 999 Denied\r\nContent-Length: 2\r\n\r\nok",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "no version yet": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "an escape in the reason": b"HTTP/1.1 200 \x1b[2J\r\nContent-Length: 2\r\n\r\nok",
    "a null in the reason": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok",
    "chunked twice": _HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": _HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "a length and chunks": _HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": _HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a folded line": _HEAD + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "line feeds alone": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "a thousand headers and one": _HEAD + b"a: b\r\n" * 1001 + b"Content-Length: 2\r\n\r\nok",
    "an interim answer and nonsense": b"HTTP/1.1 100 Continue\r\n\r\nnonsense",
}


@pytest.mark.parametrize("name", NO_ANSWERS)
@asynchronous
async def test_an_invalid_answer_is_a_502_and_none_of_it_reaches_the_client(name: str) -> None:
    async def nonsense(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(NO_ANSWERS[name])

    async with sites(nonsense) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        got = await client.ask()
        assert (got.status, got.header("server")) == (502, "awselb/2.0")
        assert (await made.failure()).reason == "malformed_response"
        site.handler = None
        assert (await client.ask()).status == 200
        await made.until(lambda: made.count("HTTPCode_ELB_502_Count") == 1)
        names = {name for report in made.of(Metrics) for name in report.counts if "HTTPCode_Target" in name}
        assert names <= {"HTTPCode_Target_2XX_Count"}


@pytest.mark.parametrize("name", ENDLESS_HEADS)
@asynchronous
async def test_a_health_check_does_not_wait_for_a_head_without_an_end(name: str) -> None:
    endless = _Endless(*ENDLESS_HEADS[name])
    async with sites(endless) as (site,):
        check = HealthCheck(path="/other" + HEALTH_PATH, interval=300, timeout=120)
        async with plane(world(group("blue", site, check=check))) as made:
            await made.until(lambda: made.states(site)[-1:] == ["unhealthy"])
            assert made.state(site).reason == "Target.FailedHealthChecks"
            await within(endless.was_stopped.wait(), PATIENCE)
            assert endless.sent < _AHEAD


@asynchronous
async def test_an_interim_answer_does_not_end_a_health_check() -> None:
    async def early(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + answer())

    async with sites(early) as (site,):
        check = HealthCheck(path="/other" + HEALTH_PATH, interval=300, timeout=120)
        async with plane(world(group("blue", site, check=check))) as made:
            await made.healthy(site)


@asynchronous
async def test_a_pool_of_idle_connections_is_bounded() -> None:
    gate = asyncio.Event()

    async def together(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(answer())

    capacity = Capacity(100)
    capacity.idle = 3
    async with sites(together) as (site,), plane(world(group("blue", site)), capacity=capacity) as made:
        await made.healthy(site)
        clients = [await made.client() for _ in range(10)]
        asked = [asyncio.ensure_future(client.ask()) for client in clients]
        await made.until(lambda: len(site.requests) == len(clients))
        gate.set()
        assert {got.status for got in await asyncio.gather(*asked)} == {200}
        await made.until(lambda: len(site.asked_on & site.connections) == 3)

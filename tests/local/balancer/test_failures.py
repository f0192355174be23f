"""Failures on the way of a request: what clients see, and what is reported."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import replace

import pytest

from mclass_tf.local.balancer.report import Failure
from tests.local.data_plane import (
    BALANCER,
    PATIENCE,
    Client,
    Message,
    Site,
    answer,
    asynchronous,
    fixed,
    forward,
    group,
    listener,
    plane,
    rule,
    sites,
    world,
)
from tests.within import within

IDLE_1 = {"idle_timeout.timeout_seconds": "1"}
LOGGED = {"access_logs.s3.enabled": "true"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


async def _hang(_: Message, __: asyncio.StreamReader, ___: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _raw(client: Client, data: bytes) -> Message:
    client.send(data)
    return await client.answer()


@asynchronous
async def test_an_error_page_equals_that_of_an_application_load_balancer() -> None:
    async with plane(world(group("blue"))) as made:
        client = await made.client()
        got = await client.ask("/a?b")
        assert got.first == ("HTTP/1.1", "503", "Service Temporarily Unavailable")
        assert got.header("server") == "awselb/2.0"
        assert got.header("content-type") == "text/html"
        assert got.header("date") is not None
        assert got.body == (
            b"<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n"
            b"<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n</body>\r\n</html>\r\n"
        )
        assert (await client.ask()).status == 503  # on the same connection


@asynchronous
async def test_a_group_without_targets_answers_503() -> None:
    async with plane(world(group("blue"))) as made:
        client = await made.client()
        assert (await client.ask("/a?b")).status == 503
        failure = await made.failure()
        assert failure == replace(
            failure,
            load_balancer_arn=BALANCER,
            target_group_arn="blue",
            target=None,
            target_is_draining=False,
            status=503,
            reason="no_targets",
            method="GET",
            path="/a",
        )
        await made.until(lambda: made.count("HTTPCode_ELB_503_Count") == 1)
        assert made.count("HTTPCode_ELB_5XX_Count") == 1
        assert made.count("RequestCount", "blue") == 0


@asynchronous
async def test_a_group_whose_targets_all_drain_answers_503() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site.target(is_draining=True)))) as made:
        assert (await (await made.client()).ask()).status == 503
        assert made.states(site) == ["draining"]


@asynchronous
async def test_a_rule_whose_weights_are_all_0_answers_503() -> None:
    async with sites(None) as (site,):
        zero = [listener(rule(forward(("blue", 0), ("green", 0))))]
        async with plane(world(group("blue", site), group("green"), listeners=zero)) as made:
            assert (await (await made.client()).ask()).status == 503


@asynchronous
async def test_unhealthy_targets_get_the_requests_if_none_is_healthy() -> None:
    async with sites(None, None) as (one, two):
        one.health = two.health = 500
        async with plane(world(group("blue", one, two))) as made:
            await made.until(lambda: made.states(one)[-1:] == made.states(two)[-1:] == ["unhealthy"])
            client = await made.client()
            bodies = [(await client.ask()).body.decode() for _ in range(4)]
            assert sorted(bodies) == sorted([one.name, two.name] * 2)
            two.health = 200
            await made.healthy(two)
            assert {(await client.ask()).body.decode() for _ in range(4)} == {two.name}


@asynchronous
async def test_a_refused_connection_is_a_502() -> None:
    async with sites(None) as (site,):
        target = replace(site.target(), address=("127.0.0.1", _free_port()))
        async with plane(world(group("blue", target))) as made:
            client = await made.client()
            assert (await client.ask()).status == 502
            failure = await made.failure()
            assert (failure.reason, failure.status, failure.target) == ("connection_refused", 502, site.name)
            await made.until(lambda: made.count("TargetConnectionErrorCount", "blue") == 1)
            assert made.count("HTTPCode_ELB_502_Count") == 1
            assert made.count("RequestCount", "blue") == 1


@pytest.mark.slow
@asynchronous
async def test_a_connection_that_takes_more_than_10_seconds_is_a_504() -> None:
    async with (
        sites(None) as (site,),
        plane(world(group("blue", replace(site.target(), address=None)))) as made,
    ):
        client = await made.client()
        before = asyncio.get_running_loop().time()
        assert (await client.ask()).status == 504
        assert 9.5 < asyncio.get_running_loop().time() - before < 15
        assert (await made.failure()).reason == "connection_timeout"
        await made.until(lambda: made.count("TargetConnectionErrorCount", "blue") == 1)


@asynchronous
async def test_a_target_that_does_not_answer_within_the_idle_timeout_is_a_504() -> None:
    async with sites(_hang) as (site,), plane(world(group("blue", site), attributes=IDLE_1)) as made:
        await made.healthy(site)
        client = await made.client()
        assert (await client.ask("/slow", method="POST", body=b"x")).status == 504
        failure = await made.failure()
        assert (failure.reason, failure.method, failure.path) == ("idle_timeout", "POST", "/slow")
        assert 0.9 < failure.in_flight_seconds < 10
        assert (await _status(client, made, site)) == 200


async def _status(client: Client, made: object, site: Site) -> int:
    site.handler = None
    return (await client.ask()).status


@asynchronous
async def test_an_answer_that_stalls_is_broken_off() -> None:
    async def stop(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
        await asyncio.Event().wait()

    async with sites(stop) as (site,), plane(world(group("blue", site), attributes=IDLE_1)) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.rest()).endswith(b"\r\n\r\nsome")
        failure = await made.failure()
        assert (failure.reason, failure.status) == ("idle_timeout", 200)


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
@asynchronous
async def test_an_answer_that_is_cut_off_does_not_look_complete(framing: str) -> None:
    async def cut(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n4\r\nsome\r\n".encode())
        await writer.drain()
        writer.close()

    async with sites(cut) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        got = await client.rest()
        assert b"some" in got
        assert not got.endswith(b"0\r\n\r\n")
        failure = await made.failure()
        assert (failure.reason, failure.status) == ("answer_cut_off", 200)


@asynchronous
async def test_an_answer_that_is_cut_off_is_reset_for_a_client_of_http_1_0() -> None:
    async def cut(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n")
        await writer.drain()
        writer.close()

    async with sites(cut) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await within(client.reader.read(), PATIENCE)


@asynchronous
async def test_a_target_that_dies_during_a_request_is_a_502_without_a_retry() -> None:
    async def die(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with sites(die, None) as (one, two), plane(world(group("blue", one, two))) as made:
        await made.healthy(one, two)
        client = await made.client()
        statuses = [(await client.ask("/a")).status for _ in range(4)]
        assert sorted(statuses) == [200, 200, 502, 502]
        assert (len(one.requests), len(two.requests)) == (2, 2)
        assert {failure.reason for failure in made.of(Failure)} == {"closed_in_flight"}
        assert {failure.target for failure in made.of(Failure)} == {one.name}


@asynchronous
async def test_a_connection_that_a_target_has_closed_is_not_used() -> None:
    async def close_later(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer())
        await writer.drain()
        writer.close()

    async with sites(close_later) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        for _ in range(3):
            assert (await client.ask()).status == 200
            await made.until(lambda: not site.connections)
            await asyncio.sleep(0.05)  # longer than `_FIN_DELAY`
        assert made.of(Failure) == []


@pytest.mark.parametrize(
    "reply",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 33 * 1024 + b"\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=["nonsense", "two lengths", "no number", "twice", "header", "encoding", "too large", "unasked"],
)
@asynchronous
async def test_a_malformed_answer_is_a_502(reply: bytes) -> None:
    async def nonsense(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)

    async with sites(nonsense) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        assert (await client.ask()).status == 502
        failure = await made.failure()
        assert (failure.reason, failure.status) == ("malformed_response", 502)
        site.handler = None
        assert (await client.ask()).status == 200


@asynchronous
async def test_a_second_answer_to_one_request_reaches_no_client() -> None:
    async def twice(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"first") + answer(b"second"))

    async with sites(twice) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        for _ in range(3):
            assert (await client.ask()).body == b"first"


_A = b"POST / HTTP/1.1\r\nHost: a\r\n"
REFUSED = {
    "no HTTP": (b"nonsense\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (_A + b"Host: b\r\n\r\n", 400),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "line feeds among others": (b"GET / HTTP/1.1\r\nHost: a\nX: a\r\n\r\n", 400),
    "two lengths": (_A + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "a signed length": (_A + b"Content-Length: +3\r\n\r\nabc", 400),
    "a list of lengths": (_A + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "chunked twice": (_A + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "nearly chunked": (_A + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "another encoding": (_A + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "an upgrade with a body": (
        _A + b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc",
        400,
    ),
    "a tunnel": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a trace": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "a long path": (b"GET /" + b"a" * 17 * 1024 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a long header": (_A + b"X: " + b"a" * 17 * 1024 + b"\r\n\r\n", 400),
    "long headers": (_A + (b"X: " + b"a" * 8192 + b"\r\n") * 9 + b"\r\n", 400),
    "forwarded too often": (_A + b"X-Forwarded-For: " + b"192.0.2.1, " * 30 + b"192.0.2.1\r\n\r\n", 463),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "another version": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
}


@asynchronous
async def test_an_invalid_request_is_refused_and_its_connection_closed() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        for name, (data, status) in REFUSED.items():
            client = await made.client()
            client.send(data + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            got = await client.answer()
            assert (name, got.status, got.header("connection")) == (name, status, "close")
            assert await client.rest() == b""
        assert site.requests == []
        refused = [status for _, status in REFUSED.values()]
        await made.until(
            lambda: made.count("HTTPCode_ELB_4XX_Count") == sum(status < 500 for status in refused)
        )
        assert made.count("HTTPCode_ELB_5XX_Count") == sum(status >= 500 for status in refused)


@asynchronous
async def test_a_malformed_body_is_a_400_and_ends_the_connection_to_the_target() -> None:
    async with sites(_hang) as (site,), plane(world(group("blue", site))) as made:
        site.reads_bodies = False
        await made.healthy(site)
        client = await made.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await made.until(lambda: len(site.requests) == 1)
        client.send(b"zz\r\n")
        assert (await client.answer()).status == 400
        assert await client.rest() == b""


@asynchronous
async def test_a_refusal_follows_the_answers_to_earlier_requests() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n")
        assert [(await client.answer()).status for _ in range(2)] == [200, 400]


@asynchronous
async def test_an_error_reaches_a_client_that_is_still_sending() -> None:
    async with plane(world(group("blue"))) as made:
        client = await made.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"a" * 5_000_000)
        got = await client.answer()
        assert got.status == 503
        assert got.header("connection") == "close"


@asynchronous
async def test_a_target_may_answer_before_it_has_read_everything() -> None:
    async def early(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"enough", status="413 Too Much"))
        await writer.drain()
        await asyncio.Event().wait()

    async with sites(early) as (site,), plane(world(group("blue", site))) as made:
        site.reads_bodies = False
        await made.healthy(site)
        client = await made.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6000000\r\n\r\n" + b"a" * 1_000_000)
        got = await client.answer()
        assert (got.status, got.body) == (413, b"enough")
        client.send(b"a" * 5_000_000)
        site.handler = None
        assert (await client.ask()).status == 200


@asynchronous
async def test_a_client_that_stalls_in_mid_request_is_closed_even_if_answered() -> None:
    async def refuse(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"enough", status="413 Too Much"))

    async with sites(refuse) as (site,), plane(world(group("blue", site), attributes=IDLE_1)) as made:
        site.reads_bodies = False
        await made.healthy(site)
        client = await made.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
        assert (await client.answer()).status == 413
        assert await client.rest() == b""
        assert made.of(Failure) == []


@asynchronous
async def test_a_client_that_does_not_end_its_request_gets_a_408() -> None:
    async with sites(_hang) as (site,), plane(world(group("blue", site), attributes=IDLE_1)) as made:
        await made.healthy(site)
        head, body = await made.client(), await made.client()
        head.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        body.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        assert [(await client.answer()).status for client in (head, body)] == [408, 408]
        assert [await client.rest() for client in (head, body)] == [b"", b""]
        assert made.of(Failure) == []


@asynchronous
async def test_an_idle_connection_of_a_client_is_closed_after_the_idle_timeout() -> None:
    async with plane(world(listeners=[listener(rule(fixed(200)))], attributes=IDLE_1)) as made:
        client = await made.client()
        assert (await client.ask()).status == 200
        before = asyncio.get_running_loop().time()
        assert await client.rest() == b""
        assert asyncio.get_running_loop().time() - before > 0.9


@asynchronous
async def test_an_idle_connection_to_a_target_is_closed_after_the_idle_timeout() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site), attributes=IDLE_1)) as made:
        await made.healthy(site)
        assert (await (await made.client()).ask()).status == 200
        assert site.opened == 1
        await made.until(lambda: not site.asked_on & site.connections)


@asynchronous
async def test_traffic_in_one_direction_keeps_a_websocket_open() -> None:
    async def ticking(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        for _tick in range(6):
            await asyncio.sleep(0.3)
            writer.write(b"tick")
        await asyncio.Event().wait()

    async with sites(ticking) as (site,), plane(world(group("blue", site), attributes=IDLE_1)) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await client.answer()).status == 101
        assert await client.rest() == b"tick" * 6
        assert made.of(Failure) == []


@asynchronous
async def test_a_client_that_disconnects_is_a_460_and_the_target_is_disconnected() -> None:
    gone = asyncio.Event()

    async def wait(_: Message, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    async with sites(wait) as (site,), plane(world(group("blue", site), attributes=LOGGED)) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await made.until(lambda: len(site.requests) == 1)
        client.close()
        await within(gone.wait(), PATIENCE)
        (line,) = await made.log_lines()
        assert " 460 - " in line
        assert made.of(Failure) == []


@asynchronous
async def test_a_client_that_disconnects_in_mid_answer_leaves_the_targets_status() -> None:
    async def endless(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegun")
        await writer.drain()

    async with sites(endless) as (site,), plane(world(group("blue", site), attributes=LOGGED)) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.reader.readuntil(b"begun")
        client.close()
        (line,) = await made.log_lines()
        assert " 200 200 " in line


@asynchronous
async def test_a_client_that_resets_its_connection_harms_no_other() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        steady = await made.client()
        for _ in range(20):
            client = await made.client()
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            made_socket = client.writer.get_extra_info("socket")
            made_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            assert (await steady.ask()).status == 200


@asynchronous
async def test_a_connection_past_its_keep_alive_carries_one_more_answer() -> None:
    attributes = {"client_keep_alive.seconds": "1"}
    async with plane(world(listeners=[listener(rule(fixed(200)))], attributes=attributes)) as made:
        client = await made.client()
        got = await client.ask()
        while got.header("connection") == "keep-alive":
            await asyncio.sleep(0.1)
            got = await client.ask()
        assert got.status == 200
        assert got.header("connection") == "close"
        assert await client.rest() == b""


@asynchronous
async def test_garbage_after_an_ignored_upgrade_is_a_400() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nnonsense\r\n\r\n"
        )
        assert [(await client.answer()).status for _ in range(2)] == [200, 400]

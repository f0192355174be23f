"""Requests and answers through the load balancer."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from mclass_tf.local.balancer.report import AccessLog, Metrics
from mclass_tf.local.balancer.snapshot import HealthCheck, Listener
from tests.local.certificate import self_signed
from tests.local.data_plane import (
    BALANCER,
    HEALTH_PATH,
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

MEGABYTE = b"0123456789abcdef" * 65536


@asynchronous
async def test_requests_go_to_healthy_targets_in_turn() -> None:
    async with sites(None, None) as (one, two), plane(world(group("blue", one, two))) as made:
        await made.healthy(one, two)
        client = await made.client()
        bodies = [(await client.ask()).body.decode() for _ in range(10)]
        assert bodies.count(one.name) == bodies.count(two.name) == 5


@asynchronous
async def test_connections_to_targets_are_reused() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        for _ in range(5):
            assert (await (await made.client()).ask()).status == 200
        assert site.opened == 1


@asynchronous
async def test_a_target_gets_the_clients_address_protocol_and_port() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        await client.ask("/a?b=c", headers=("Host: Example.COM", "X-Custom: 1", "Cookie: a=b"))
        asked = site.requests[0]
        assert asked.first == ("GET", "/a?b=c", "HTTP/1.1")
        assert asked.header("x-forwarded-for") == "203.0.113.25"
        assert asked.header("x-forwarded-proto") == "http"
        assert asked.header("x-forwarded-port") == "80"
        assert asked.header("host") == "example.com"
        assert asked.header("x-custom") == "1"
        assert asked.header("cookie") == "a=b"
        assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", asked.header("x-amzn-trace-id") or "")


@asynchronous
async def test_existing_forwarding_and_trace_headers_are_kept() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        await client.ask(
            headers=(
                "Host: a",
                "X-Forwarded-For: 203.0.113.7",
                "X-Forwarded-Proto: https",
                "X-Amzn-Trace-Id: Self=old;Root=1-67891233-abcdef012345678912345678;CalledFrom=app",
            )
        )
        asked = site.requests[0]
        assert asked.all("x-forwarded-for") == ["203.0.113.7, 203.0.113.25"]
        assert asked.all("x-forwarded-proto") == ["http"]
        trace = asked.header("x-amzn-trace-id") or ""
        assert re.fullmatch(
            r"Self=1-[0-9a-f]{8}-[0-9a-f]{24};Root=1-67891233-abcdef012345678912345678;CalledFrom=app", trace
        )


@pytest.mark.parametrize(
    ("attribute", "value", "header", "expected"),
    [
        ("routing.http.xff_header_processing.mode", "preserve", "x-forwarded-for", "203.0.113.7"),
        ("routing.http.xff_header_processing.mode", "remove", "x-forwarded-for", None),
        ("routing.http.preserve_host_header.enabled", "true", "host", "Example.com"),
        ("routing.http.drop_invalid_header_fields.enabled", "true", "under_score", None),
        ("routing.http.drop_invalid_header_fields.enabled", "false", "under_score", "1"),
    ],
)
@asynchronous
async def test_attributes_decide_which_headers_are_forwarded(
    attribute: str, value: str, header: str, expected: str | None
) -> None:
    async with (
        sites(None) as (site,),
        plane(world(group("blue", site), attributes={attribute: value})) as made,
    ):
        await made.healthy(site)
        client = await made.client()
        await client.ask(headers=("Host: Example.com", "X-Forwarded-For: 203.0.113.7", "under_score: 1"))
        assert site.requests[0].header(header) == expected


@asynchronous
async def test_the_clients_port_is_forwarded_if_enabled() -> None:
    attributes = {"routing.http.xff_client_port.enabled": "true"}
    async with sites(None) as (site,), plane(world(group("blue", site), attributes=attributes)) as made:
        await made.healthy(site)
        client = await made.client()
        await client.ask()
        port = client.writer.get_extra_info("sockname")[1]
        assert site.requests[0].header("x-forwarded-for") == f"203.0.113.25:{port}"


@asynchronous
async def test_hop_by_hop_headers_are_not_forwarded() -> None:
    async def close(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            answer(headers=("Connection: X-Own", "X-Own: 1", "Keep-Alive: timeout=5", "Server: mine"))
        )

    async with sites(close) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        got = await client.ask(
            headers=("Host: a", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers")
        )
        asked = site.requests[0]
        assert [asked.header(name) for name in ("connection", "x-hop", "keep-alive", "te")] == [None] * 4
        assert [got.header(name) for name in ("x-own", "keep-alive")] == [None] * 2
        assert got.all("connection") == ["keep-alive"]
        assert got.all("server") == ["mine"]


@asynchronous
async def test_the_load_balancer_adds_no_server_header_to_an_answer() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        assert (await (await made.client()).ask()).header("server") is None


async def _echo(asked: Message, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(asked.body))


@asynchronous
async def test_a_body_of_known_length_is_forwarded_completely_both_ways() -> None:
    async with sites(_echo) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        got = await client.ask(method="POST", body=MEGABYTE)
        assert got.body == MEGABYTE
        assert site.requests[0].header("content-length") == str(len(MEGABYTE))


@asynchronous
async def test_a_chunked_body_is_forwarded_completely_without_trailers() -> None:
    async with sites(_echo) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        client.send(b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n")
        assert (await client.answer()).body == b"hello world"
        asked = site.requests[0]
        assert asked.header("transfer-encoding") == "chunked"
        assert asked.header("content-length") is None
        assert asked.header("trailer") is None
        assert (await client.ask(method="POST", body=b"next")).body == b"next"


async def _answer_every_chunk(_: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    size = -1
    while size:
        size = int(await reader.readline(), 16)
        writer.write(b"%x\r\n%b" % (size, await reader.readexactly(size + 2)))


@asynchronous
async def test_bodies_are_streamed_both_ways() -> None:
    async with sites(_answer_every_chunk) as (site,), plane(world(group("blue", site))) as made:
        site.reads_bodies = False
        await made.healthy(site)
        client = await made.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for data in (b"one", b"two", b"three"):
            client.send(b"%x\r\n%b\r\n" % (len(data), data))
            await within(client.reader.readuntil(b"\r\n%b\r\n" % data), PATIENCE)
        client.send(b"0\r\n\r\n")
        await within(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)


@asynchronous
async def test_a_slow_client_slows_the_target_down() -> None:
    written = 0

    async def endless(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * len(MEGABYTE)))
        for _turn in range(64):
            writer.write(MEGABYTE)
            await writer.drain()
            written += 1

    async with sites(endless) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.pause()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        before = -1
        while before != written or written == 0:  # until it stalls
            before = written
            await asyncio.sleep(0.2)
        assert written < 60
        client.resume()
        got = await client.answer()
        assert len(got.body) == 64 * len(MEGABYTE)
        assert (await client.ask("/")).status == 200


@asynchronous
async def test_an_answer_that_ends_with_its_connection_is_forwarded_in_chunks() -> None:
    async def old(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")
        await writer.drain()
        writer.close()

    async with sites(old) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        for _ in range(2):
            got = await client.ask()
            assert got.header("transfer-encoding") == "chunked"
            assert got.body == b"until the end"


@asynchronous
async def test_a_client_of_http_1_0_gets_an_answer_that_ends_with_the_connection() -> None:
    async def chunked(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")

    async with sites(chunked) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        got = await client.ask(version="1.0", headers=())
        assert got.header("transfer-encoding") is None
        assert got.header("connection") == "close"
        assert got.body == b"hello"
        assert site.requests[0].header("host") == "web-1.eu-west-1.elb.amazonaws.com"


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked", "ETag: x"])
@asynchronous
async def test_head_is_answered_without_a_body_and_the_connections_stay_open(framing: str) -> None:
    async def head(asked: Message, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked.first[0] == "HEAD":
            writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        else:
            writer.write(answer(b"hello"))

    name, _, value = framing.partition(": ")
    async with sites(head) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        for _ in range(2):
            assert (await client.ask(method="HEAD")).header(name.lower()) == value
            assert (await client.ask()).body == b"hello"
        assert site.opened == 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@asynchronous
async def test_answers_that_never_have_a_body_end_with_their_head(status: str) -> None:
    async def bodiless(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())

    async with sites(bodiless) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        for _ in range(2):
            got = await client.ask()
            assert got.status == int(status[:3])
            assert got.header("transfer-encoding") is None
        assert site.opened == 1


@asynchronous
async def test_expect_is_answered_immediately_and_not_forwarded() -> None:
    async with sites(_echo) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.answer()).status == 100
        client.send(b"hello")
        assert (await client.answer()).body == b"hello"
        assert site.requests[0].header("expect") is None


@asynchronous
async def test_a_targets_own_interim_answers_are_not_forwarded() -> None:
    async def interim(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer()
        )

    async with sites(interim) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        for _ in range(2):
            assert (await client.ask()).body == b"ok"
        assert site.opened == 1


@asynchronous
async def test_pipelined_requests_are_answered_in_order() -> None:
    async def slow_first(asked: Message, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/0":
            await asyncio.sleep(0.2)
        writer.write(answer(asked.path.encode()))

    async with sites(slow_first, slow_first) as (one, two), plane(world(group("blue", one, two))) as made:
        await made.healthy(one, two)
        client = await made.client()
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50)))
        assert [(await client.answer()).body for _ in range(50)] == [b"/%d" % number for number in range(50)]


@asynchronous
async def test_thousands_of_requests_at_once_are_answered_by_a_fixed_response() -> None:
    async with plane(world(listeners=[listener(rule(fixed(200, "hello")))])) as made:
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5000)
        for _ in range(5000):
            assert (await client.answer()).body == b"hello"


@asynchronous
async def test_bodies_of_pipelined_requests_stay_separate() -> None:
    async with sites(_echo) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        one = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
        client.send(b"".join(one % (len(MEGABYTE), MEGABYTE) for _ in range(3)) + one % (3, b"end"))
        for _ in range(3):
            assert (await client.answer()).body == MEGABYTE
        assert (await client.answer()).body == b"end"


@asynchronous
async def test_a_client_that_sends_connection_close_is_disconnected_after_the_answer() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        got = await client.ask(headers=("Host: a", "Connection: close"))
        assert got.header("connection") == "close"
        assert await client.rest() == b""
        assert site.requests[0].header("connection") is None


async def _websocket(asked: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    assert asked.header("upgrade") == "websocket"
    assert asked.header("connection") == "Upgrade"
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: x\r\n\r\n"
    )
    while data := await reader.read(65536):
        writer.write(data.upper())
        await writer.drain()
        if data.endswith(b"bye"):
            writer.close()
            return


_UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n"
)


@asynchronous
async def test_a_websocket_is_tunnelled() -> None:
    async with sites(_websocket) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(_UPGRADE + b"early ")
        got = await client.answer()
        assert got.status == 101
        assert got.header("sec-websocket-accept") == "x"
        assert await client.reader.readexactly(6) == b"EARLY "
        client.send(b"and late")
        assert await client.reader.readexactly(8) == b"AND LATE"
        client.send(b"bye")
        assert await client.rest() == b"BYE"


@asynchronous
async def test_a_websocket_is_counted_when_established_and_logged_at_its_end() -> None:
    attributes = {"access_logs.s3.enabled": "true"}
    async with sites(_websocket) as (site,), plane(world(group("blue", site), attributes=attributes)) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(_UPGRADE)
        assert (await client.answer()).status == 101
        await made.until(lambda: made.count("RequestCount", "blue") == 1)
        assert not made.of(AccessLog)
        client.send(b"bye")
        assert await client.rest() == b"BYE"
        (line,) = await made.log_lines()
        assert line.startswith("ws ")
        assert " 101 101 " in line
        assert made.count("RequestCount", "blue") == 1
        assert made.count("HTTPCode_Target_1XX_Count", "blue") == 0


@asynchronous
async def test_an_upgrade_queued_behind_another_request_is_tunnelled() -> None:
    async def answers(asked: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/chat":
            await asyncio.sleep(0.1)  # what follows must not be taken for a request meanwhile
            await _websocket(asked, reader, writer)
        else:
            writer.write(answer())

    async with sites(answers) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + _UPGRADE + b"early bye")
        assert [(await client.answer()).status for _ in range(2)] == [200, 101]
        assert await client.rest() == b"EARLY BYE"


@asynchronous
async def test_an_upgrade_that_the_target_declines_leaves_http_in_force() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(_UPGRADE + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]
        assert [asked.path for asked in site.requests] == ["/chat", "/next"]


@asynchronous
async def test_an_upgrade_to_anything_else_is_ignored() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        got = await client.ask(
            headers=("Host: a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x")
        )
        assert got.status == 200
        assert site.requests[0].header("upgrade") is None
        assert site.requests[0].header("http2-settings") is None
        assert (await client.ask()).status == 200


@asynchronous
async def test_an_https_listener_uses_its_certificate_and_sends_tls_headers_to_the_target(
    tmp_path: Path,
) -> None:
    certificate, key = self_signed("example.com")
    secure = replace(
        listener(rule(forward("blue")), port=443), protocol="HTTPS", certificate=certificate, private_key=key
    )
    attributes = {"routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "true"}
    (tmp_path / "ca.pem").write_text(certificate)
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    trust.check_hostname = False
    async with sites(None) as (site,):
        snapshot = world(group("blue", site), listeners=[secure], attributes=attributes)
        async with plane(snapshot) as made:
            await made.healthy(site)
            client = await made.client(tls=trust)
            assert (await client.ask(headers=("Host: example.com",))).status == 200
            asked = site.requests[0]
            assert asked.header("x-forwarded-proto") == "https"
            assert asked.header("x-forwarded-port") == "443"
            assert asked.header("x-amzn-tls-version") == "TLSv1.3"
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.deprecated_call():
                old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await made.client(tls=old)


@asynchronous
async def test_an_https_target_group_is_contacted_by_https_with_any_certificate(tmp_path: Path) -> None:
    certificate, key = self_signed("target.invalid")
    (tmp_path / "chain.pem").write_text(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem")
    site = Site()
    await site.start(tls=context)
    check = HealthCheck(protocol="HTTPS", path=HEALTH_PATH)
    async with plane(world(replace(group("blue", site, check=check), protocol="HTTPS"))) as made:
        await made.healthy(site)
        assert (await (await made.client()).ask()).body == site.name.encode()
    await site.stop()


@asynchronous
async def test_redirects_and_fixed_responses_come_from_the_load_balancer() -> None:
    redirect = {
        "Type": "redirect",
        "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"},
    }
    rules = (
        rule(redirect, {"Field": "path-pattern", "Values": ["/old/*"]}, priority=1),
        rule(fixed(418, "short and stout")),
    )
    async with plane(world(listeners=[listener(*rules)])) as made:
        client = await made.client()
        got = await client.ask("/old/a?b=c")
        assert got.status == 301
        assert got.header("location") == "https://example.com:443/old/a?b=c"
        assert got.header("server") == "awselb/2.0"
        assert b"<h1>301 Moved Permanently</h1>" in got.body
        got = await client.ask("/")
        assert (got.status, got.body) == (418, b"short and stout")
        assert got.header("content-type") == "text/plain; charset=utf-8"
        await made.until(lambda: made.count("HTTP_Fixed_Response_Count") == 1)
        assert made.count("HTTP_Redirect_Count") == 1


@asynchronous
async def test_a_redirect_that_is_too_long_is_a_507() -> None:
    redirect = {
        "Type": "redirect",
        "RedirectConfig": {"Path": "/#{path}/#{path}", "StatusCode": "HTTP_302"},
    }
    async with plane(world(listeners=[listener(rule(redirect))])) as made:
        client = await made.client()
        assert (await client.ask("/" + "a" * 5000)).status == 507
        assert (await client.ask("/a")).status == 302


async def _cookies(client: Client, cookies: str = "") -> tuple[str, dict[str, str]]:
    headers = ("Host: a", *((f"Cookie: {cookies}",) if cookies else ()))
    got = await client.ask(headers=headers)
    found = (text.split(";")[0].partition("=")[::2] for text in got.all("set-cookie"))
    return got.body.decode(), dict(found)


@asynchronous
async def test_a_sticky_session_stays_with_its_target_until_it_is_deregistered() -> None:
    sticky = {"stickiness.enabled": "true", "stickiness.type": "lb_cookie"}
    async with (
        sites(None, None, None) as found,
        plane(world(group("blue", *found, attributes=sticky))) as made,
    ):
        await made.healthy(*found)
        client = await made.client()
        chosen, cookies = await _cookies(client)
        assert set(cookies) == {"AWSALB", "AWSALBCORS"}
        for _ in range(6):
            again, cookies = await _cookies(client, f"other=1; AWSALB={cookies['AWSALB']}")
            assert again == chosen
        left = [site for site in found if site.name != chosen]
        await made.apply(world(group("blue", *left, attributes=sticky)))
        other, moved = await _cookies(client, f"AWSALB={cookies['AWSALB']}")
        assert other != chosen
        assert (await _cookies(client, f"AWSALB={moved['AWSALB']}"))[0] == other
        assert len({(await _cookies(client, "AWSALB=forged"))[0] for _ in range(6)}) == 2


@asynchronous
async def test_a_session_sticks_to_the_applications_cookie() -> None:
    async def login(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(headers=("Set-Cookie: session=1; Path=/",)))

    sticky = {
        "stickiness.enabled": "true",
        "stickiness.type": "app_cookie",
        "stickiness.app_cookie.cookie_name": "session",
        "stickiness.app_cookie.duration_seconds": "60",
    }
    async with sites(login, login) as found, plane(world(group("blue", *found, attributes=sticky))) as made:
        await made.healthy(*found)
        client = await made.client()
        _, cookies = await _cookies(client)
        assert {"session", "AWSALBAPP"} <= set(cookies)
        for _ in range(6):
            await _cookies(client, f"session=1; AWSALBAPP={cookies['AWSALBAPP']}")
        assert sorted(len(site.requests) for site in found) == [0, 7]
        for _ in range(2):  # without the application's cookie there is no session
            await _cookies(client, f"AWSALBAPP={cookies['AWSALBAPP']}")
        assert min(len(site.requests) for site in found) > 0


@asynchronous
async def test_a_client_stays_with_its_target_group_until_its_weight_is_0() -> None:
    async with sites(None, None) as (one, two):
        groups = group("blue", one), group("green", two)

        def weights(blue: int, green: int) -> list[Listener]:
            return [listener(rule(forward(("blue", blue), ("green", green), sticky=60)))]

        async with plane(world(*groups, listeners=weights(50, 50))) as made:
            await made.healthy(one, two)
            client = await made.client()
            chosen, cookies = await _cookies(client)
            assert set(cookies) == {"AWSALBTG", "AWSALBTGCORS"}
            for _ in range(6):
                again, _new = await _cookies(client, f"AWSALBTG={cookies['AWSALBTG']}")
                assert again == chosen
            await made.apply(world(*groups, listeners=weights(0, 1) if chosen == one.name else weights(1, 0)))
            other, _new = await _cookies(client, f"AWSALBTG={cookies['AWSALBTG']}")
            assert other != chosen


@asynchronous
async def test_the_target_with_the_fewest_requests_under_way_is_chosen() -> None:
    release = asyncio.Event()

    async def wait(asked: Message, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/wait":
            await release.wait()
        writer.write(answer())

    fewest = {"load_balancing.algorithm.type": "least_outstanding_requests"}
    async with (
        sites(wait, wait) as (one, two),
        plane(world(group("blue", one, two, attributes=fewest))) as made,
    ):
        await made.healthy(one, two)
        busy = await made.client()
        busy.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await made.until(lambda: len(one.requests) + len(two.requests) == 1)
        client = await made.client()
        for _ in range(10):
            await client.ask()
        assert sorted((len(one.requests), len(two.requests))) == [1, 10]
        release.set()
        assert (await busy.answer()).status == 200


@asynchronous
async def test_a_new_target_gets_a_growing_share_in_slow_start() -> None:
    slow = {"slow_start.duration_seconds": "900"}
    async with (
        sites(None, None) as (one, two),
        plane(world(group("blue", one, attributes=slow), speed=100)) as made,
    ):
        await made.healthy(one)
        await made.apply(world(group("blue", one, two, attributes=slow), speed=100))
        await made.healthy(two)
        client = await made.client()
        for _ in range(200):
            await client.ask()
        assert len(two.requests) < 40
        await made.apply(world(group("blue", one, two, attributes=slow), speed=1000))
        await asyncio.sleep(1)  # the slow start's end
        before = len(two.requests)
        for _ in range(100):
            await client.ask()
        assert len(two.requests) - before == 50


@asynchronous
async def test_traffic_is_counted_by_target_group() -> None:
    async def by_path(asked: Message, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status=f"{asked.path[1:]} Whatever"))

    async with sites(by_path) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        for path in ("/200", "/201", "/302", "/404", "/500"):
            await client.ask(path)
        await made.until(lambda: made.count("RequestCount", "blue") == 5)
        counted = {kind: made.count(f"HTTPCode_Target_{kind}XX_Count", "blue") for kind in (2, 3, 4, 5)}
        assert counted == {2: 2, 3: 1, 4: 1, 5: 1}
        times = [time for found in made.of(Metrics) for time in found.response_times]
        assert len(times) == 5
        assert all(0 < time < 20 for time in times)
        assert made.count("NewConnectionCount") >= 2
        assert made.count("HTTPCode_ELB_5XX_Count") == 0
        by_rule = [each.by_rule for each in made.of(Metrics) if each.by_rule]
        assert {arn for each in by_rule for arn in each} == {"rule-None"}
        assert sum(each[arn] for each in by_rule for arn in each) == 5


@asynchronous
async def test_every_request_is_logged_if_the_access_log_is_enabled() -> None:
    attributes = {"access_logs.s3.enabled": "true"}
    async with sites(None) as (site,):
        rules = (
            rule(forward("blue"), {"Field": "path-pattern", "Values": ["/a*"]}, priority=7),
            rule(fixed(404)),
        )
        snapshot = world(group("blue", site), listeners=[listener(*rules)], attributes=attributes)
        async with plane(snapshot) as made:
            await made.healthy(site)
            client = await made.client()
            await client.ask("/a?b=c", headers=("Host: example.com", 'User-Agent: a "quoted" one'))
            await client.ask("/none")
            first, second = await made.log_lines(2)
            port = client.writer.get_extra_info("sockname")[1]
            assert re.fullmatch(
                r"http 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z "
                + re.escape(BALANCER.split("loadbalancer/")[1])
                + rf" 203\.0\.113\.25:{port} {re.escape(site.name)} \d+\.\d{{3}} \d+\.\d{{3}} \d+\.\d{{3}} 200 200 \d+ \d+ "
                r'"GET http://example\.com:80/a\?b=c HTTP/1\.1" "a \\x22quoted\\x22 one" - - blue '
                r'"Root=1-[0-9a-f]{8}-[0-9a-f]{24}" "-" "-" 7 20\S+Z "forward" "-" "-" '
                rf'"{re.escape(site.name)}" "200" "-" "-" TID_[0-9a-f]{{32}}',
                first,
            )
            assert " - -1 -1 -1 404 - " in second
            assert '"fixed-response"' in second


@asynchronous
async def test_nothing_is_logged_if_the_access_log_is_disabled() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        await (await made.client()).ask()
        await made.until(lambda: made.count("RequestCount", "blue") == 1)
        assert not made.of(AccessLog)

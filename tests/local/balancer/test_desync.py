"""The load balancer treats requests that do not comply with HTTP as AWS's does, and no target sees more than one in each."""

from __future__ import annotations

from contextlib import closing

import h11
import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mclass_tf.local.balancer.messages.desync import REASONS
from mclass_tf.local.balancer.messages.head import Head, RequestRefusedError, read_head
from mclass_tf.local.balancer.snapshot import HealthCheck, Target
from tests.app.service import Service
from tests.local.balancer.desync_cases import ACCEPTABLE, AMBIGUOUS, CHUNKS, COMPLIANT, SEVERE, Case
from tests.local.data_plane import (
    Plane,
    Site,
    asynchronous,
    fixed,
    group,
    listener,
    plane,
    rule,
    sites,
    world,
)

_ALL = {"Compliant": COMPLIANT, "Acceptable": ACCEPTABLE, "Ambiguous": AMBIGUOUS, "Severe": SEVERE}
_FORWARDED = {
    "monitor": ("Compliant", "Acceptable", "Ambiguous"),
    "defensive": ("Compliant", "Acceptable", "Ambiguous"),
    "strictest": ("Compliant",),
}


def test_every_class_and_every_reason_has_its_cases() -> None:
    counted = {name: len(cases) for name, cases in _ALL.items()}
    reasons = {case.reason: name for name, cases in _ALL.items() for case in cases}

    assert counted["Compliant"] >= 28
    assert counted["Acceptable"] >= 15
    assert counted["Ambiguous"] >= 58
    assert counted["Severe"] >= 58
    assert {name: desync.classification for name, desync in REASONS.items()} | {"-": "Compliant"} == reasons


@pytest.mark.parametrize("mode", _FORWARDED)
@pytest.mark.parametrize("name", _ALL)
@asynchronous
async def test_the_mode_decides_by_the_class_and_the_target_sees_one_request(name: str, mode: str) -> None:
    attributes = {"access_logs.s3.enabled": "true", "routing.http.desync_mitigation_mode": mode}
    cases = _ALL[name]
    async with sites(None) as (site,), plane(world(group("blue", site), attributes=attributes)) as made:
        await made.healthy(site)
        for case in cases:
            is_forwarded = name in _FORWARDED[mode]
            await _try(
                made, site, case, is_forwarded=is_forwarded, closes=(name, mode) == ("Ambiguous", "defensive")
            )
        logged = [line.rsplit(" ", 3)[1:3] for line in await made.log_lines(len(cases))]
        expected = "-" if name == "Compliant" else name
        assert [(f'"{expected}"', f'"{case.reason}"') for case in cases] == [tuple(pair) for pair in logged]
        counted = 0 if name == "Compliant" else len(cases)
        assert made.count("DesyncMitigationMode_NonCompliant_Request_Count") == counted


async def _try(made: Plane, site: Site, case: Case, *, is_forwarded: bool, closes: bool) -> None:
    """Send a case and, behind it, another request, which must arrive by itself or not at all."""
    site.requests.clear()
    client = await made.client()
    client.send(case.data)
    try:
        got = await client.answer(bodiless=case.data.startswith(b"HEAD"))
    except TimeoutError:
        raise AssertionError(f"no answer: {case.name}") from None
    client.close()
    assert (case.name, got.status) == (
        case.name,
        200 if is_forwarded else case.status if case in SEVERE else 400,
    )
    if not is_forwarded:
        assert got.header("connection") == "close"
        assert site.requests == []
        return
    (asked,) = site.requests
    assert (case.name, asked.path.encode("latin-1")) == (
        case.name,
        case.path.encode(errors="surrogateescape"),
    )
    assert (case.name, asked.body) == (case.name, case.body)
    assert len(asked.all("content-length") + asked.all("transfer-encoding")) <= 1
    if closes:
        assert (case.name, got.header("connection")) == (case.name, "close")


@pytest.mark.parametrize(
    "coding", ["gzip", "gzip, chunked", "deflate, identity, chunked", "compress;q=1, chunked"]
)
@asynchronous
async def test_codings_that_comply_but_that_the_load_balancer_does_not_support_are_a_501(coding: str) -> None:
    """AWS's list of errors says so, although http_desync_guardian calls them compliant."""
    attributes = {"access_logs.s3.enabled": "true"}
    async with plane(world(listeners=[listener(rule(fixed(200)))], attributes=attributes)) as made:
        client = await made.client()
        client.send(f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n".encode())
        assert (await client.answer()).status == 501
        (line,) = await made.log_lines()
        assert '"-" "-" TID_' in line


@asynchronous
async def test_a_head_that_arrives_byte_by_byte_is_read_as_a_whole_one() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        for data in (COMPLIANT[1].data, ACCEPTABLE[-1].data, AMBIGUOUS[-1].data, COMPLIANT[26].data):
            client = await made.client()
            for number in range(len(data)):
                client.send(data[number : number + 1])
                await client.writer.drain()
            assert (await client.answer()).status == 200
            client.close()
        assert [asked.body for asked in site.requests] == [b"", b"abc", b"", b"abc"]


@pytest.mark.parametrize("separator", [b"", b"\r\n", b"\n\n"])
@asynchronous
async def test_requests_behind_one_another_are_told_apart(separator: bytes) -> None:
    data = (COMPLIANT[1].data, COMPLIANT[26].data, COMPLIANT[21].data, ACCEPTABLE[-1].data, COMPLIANT[0].data)
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(separator.join(data))
        assert [(await client.answer()).status for _ in data] == [200] * len(data)
        assert [asked.body for asked in site.requests] == [b"", b"abc", b"abc", b"abc", b""]


@asynchronous
async def test_the_access_log_escapes_raw_utf_8_of_a_target() -> None:
    async with plane(
        world(listeners=[listener(rule(fixed(200)))], attributes={"access_logs.s3.enabled": "true"})
    ) as made:
        client = await made.client()
        client.send(COMPLIANT[1].data)
        assert (await client.answer()).status == 200
        (line,) = await made.log_lines()
        assert r'"GET http://a:80/\xED\x95\x9C\xEA\xB8\x80 HTTP/1.1"' in line


@asynchronous
async def test_a_redirect_escapes_raw_utf_8_of_a_target() -> None:
    redirect = {"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Host": "b"}}
    async with plane(world(listeners=[listener(rule(redirect))])) as made:
        client = await made.client()
        client.send(
            "GET /한?q=글 HTTP/1.1\r\nHost: a\r\n\r\n".encode() + b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert (await client.answer()).header("location") == "http://b:80/%ED%95%9C?q=%EA%B8%80"
        assert (await client.answer()).header("location") == "http://b:80/%FF"


@asynchronous
async def test_a_failure_names_the_path_in_its_own_script() -> None:
    nobody = group("blue")
    async with plane(world(nobody)) as made:
        client = await made.client()
        client.send("GET /한글 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert (await client.answer()).status == 503
        assert (await made.failure()).path == "/한글"


@pytest.mark.parametrize(
    ("path", "status"), [("/version?q=한글", 200), ("/한글", 404), ("/version?a=b c", 200)]
)
@asynchronous
async def test_the_service_answers_behind_the_load_balancer(path: str, status: int) -> None:
    with closing(Service({}).listening()) as service:
        target = Target(ip="10.0.0.1", port=3000, address=("127.0.0.1", service.port))
        check = HealthCheck(path="/health", interval=300)
        async with plane(world(group("blue", target, check=check))) as made:
            client = await made.client()
            client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            got = await client.answer()
            assert (got.status, got.header("server")) == (status, None)


_ODD = st.sampled_from(
    (
        b" ",
        b"\t",
        b":",
        b"\r",
        b"\n",
        b"\x00",
        b"\x01",
        b"\x7f",
        b"\xff",
        "\u017f".encode(),
        b"-",
        b"_",
        b"a",
        b"",
    )
)
_NAMES = st.tuples(
    _ODD, st.sampled_from((b"Content-Length", b"Transfer-Encoding", b"Host", b"X", b"Connection")), _ODD
)
_VALUES = st.tuples(_ODD, st.sampled_from((b"3", b"03", b"4", b"chunked", b"identity", b"gzip", b"a")), _ODD)
_HEADERS = st.tuples(_NAMES.map(b"".join), st.sampled_from((b":", b": ", b"")), _VALUES.map(b"".join)).map(
    b"".join
)
_LINES = st.tuples(
    st.sampled_from((b"GET", b"POST", b"HEAD")),
    st.sampled_from((b" ", b" ", b"  ", b"\t")),
    st.tuples(_ODD, st.sampled_from((b"/", b"/a", b"*", b"http://b/c", b"HTTP/1.1")), _ODD).map(b"".join),
    st.sampled_from((b" ", b" ", b"  ", b"\t", b"")),
    st.sampled_from((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.7", b"")),
    st.sampled_from((b"", b" ")),
).map(b"".join)
_ENDS = st.sampled_from((b"\r\n", b"\r\n", b"\n"))


@given(line=_LINES, headers=st.lists(_HEADERS, max_size=4), end=_ENDS)
@example(
    line=b"GET /\xed\x95\x9c HTTP/1.1",
    headers=[b"Content-Length: 3", b"Transfer-Encoding: chunked"],
    end=b"\n",
)
@example(line=b"POST / HTTP/1.1", headers=[b"Content-Length: 3", b" 4"], end=b"\r\n")
def test_what_is_written_anew_is_one_request_to_every_parser(
    line: bytes, headers: list[bytes], end: bytes
) -> None:
    try:
        head = read_head(end.join((line, *headers, b"", b"")))
    except RequestRefusedError:
        return
    body = CHUNKS if b"Transfer-Encoding" in head.data else b"abcd"[: _length(head)]
    seen = b"abc" if body is CHUNKS else body
    assert _read_by_h11(head, body) == seen
    assert _read_by_llhttp(head, body) == seen
    assert not set(head.target) & {*range(33), 127}


def _length(head: Head) -> int:
    found = [line for line in head.data.split(b"\r\n") if line.lower().startswith(b"content-length")]
    assert len(found) <= 1
    return int(found[0].split(b":")[1]) if found else 0


def _read_by_h11(head: Head, body: bytes) -> bytes:
    connection = h11.Connection(h11.SERVER)
    first, rest = head.data.split(b"\r\n", 1)
    version = first.rpartition(b" ")[2].replace(b"1.0", b"1.1")  # h11 does not read chunks in HTTP/1.0
    host = b"" if b"\nhost:" in head.data.lower() else b"Host: a\r\n"
    connection.receive_data(b"%b / %b\r\n%b%b%b" % (first.split(b" ")[0], version, host, rest, body))
    seen = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert event is not h11.NEED_DATA
        seen += bytes(event.data) if isinstance(event, h11.Data) else b""
    assert connection.trailing_data[0] == b""
    return seen


def _read_by_llhttp(head: Head, body: bytes) -> bytes:
    class Seen:
        body = b""
        ends = 0

        def on_body(self, data: bytes) -> None:
            self.body += data

        def on_message_complete(self) -> None:
            self.ends += 1

    seen = Seen()
    httptools.HttpRequestParser(seen).feed_data(head.data + body)
    assert seen.ends == 1
    return seen.body

"""A lost answer is reported, and diagnosed, by its true reason. The targets are processes of their own."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest

from mclass_tf.local.balancer.report import Failure
from mclass_tf.local.balancer.snapshot import HealthCheck, Target
from mclass_tf.rehearsal import causes
from mclass_tf.rehearsal.diagnosis import Diagnosis, diagnose
from mclass_tf.rehearsal.result import BalancerFailure
from tests.local.data_plane import HEALTH_PATH, PATIENCE, Client, Plane, asynchronous, group, plane, world
from tests.rehearsal.samples import START, failed_request, load, rehearsal, task
from tests.within import within

_IP = "10.0.0.1"
_KEEP_ALIVE = 0.1  # seconds, of the target after /idle
_LONG_IDLE = 0.6  # seconds
_PROGRAM = f"""
import select, socket, threading, time

OK = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"

def serve(connection):
    while request := connection.recv(65536):
        path = request.split()[1]
        if path == b"/read":
            break
        elif path == b"/part-of-a-head":
            connection.sendall(OK[:30])
            break
        elif path == b"/part-of-a-body":
            connection.sendall(OK[:-1])
            break
        elif path == b"/silent":
            continue
        connection.sendall(OK)
        if path == b"/idle":
            time.sleep({_KEEP_ALIVE})
            break
        if path == b"/unread":
            select.select([connection], [], [])
            break  # a request waits unread: its sender gets a reset
    connection.close()

def listen(listener, serve):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

serving, closing = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
print(serving.getsockname()[1], closing.getsockname()[1], flush=True)
threading.Thread(target=listen, args=(serving, serve), daemon=True).start()
listen(closing, lambda connection: connection.close())
"""


@asynccontextmanager
async def _ports() -> AsyncIterator[tuple[int, ...]]:
    """Run a target; return the ports of its server and of the one that closes every connection at once."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, stdout=pipe)
    assert process.stdout is not None
    try:
        yield tuple(map(int, (await within(process.stdout.readline(), PATIENCE)).split()))
    finally:
        process.kill()
        await process.wait()


def _balancer(port: int) -> AbstractAsyncContextManager[Plane]:
    target = Target(ip=_IP, port=3000, address=("127.0.0.1", port))
    check = HealthCheck(path=HEALTH_PATH, interval=300)
    return plane(world(group("blue", target, check=check), attributes={"access_logs.s3.enabled": "true"}))


def _diagnosis(failure: Failure, *, kind: str) -> Diagnosis:
    """Return what a rehearsal says of the failure, at a task that goes on serving."""
    reported = BalancerFailure(
        at=START + 40,
        reason=failure.reason,
        status=failure.status,
        target=failure.target or "",
        target_is_draining=failure.target_is_draining,
        path=failure.path,
        in_flight_seconds=failure.in_flight_seconds,
    )
    failed = (failed_request(40, kind=kind, path=failure.path),)
    serving = replace(task(12), private_ip=_IP)
    (found,) = diagnose(
        replace(rehearsal(), load=load(failed=failed), balancer_failures=(reported,), tasks=(serving,))
    )
    return found


def _ask_at_once(client: Client, path: str) -> None:
    """Send a request in this very turn of the event loop."""
    os.write(
        client.writer.get_extra_info("socket").fileno(), f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    )


@pytest.mark.parametrize("idle", [None, 0.0, _LONG_IDLE])
@pytest.mark.parametrize(
    ("path", "reason", "status", "cause"),
    [
        ("/read", "closed_in_flight", 502, causes.NO_ANSWER),
        ("/part-of-a-head", "answer_cut_off", 502, causes.ANSWER_CUT_OFF),
        ("/part-of-a-body", "answer_cut_off", 200, causes.ANSWER_CUT_OFF),
    ],
)
@asynchronous
async def test_a_target_that_closes_after_it_has_read_is_not_blamed_on_keep_alive(
    path: str, reason: str, status: int, cause: str, idle: float | None
) -> None:
    """`idle`: seconds since an answer on the same connection; None for a new connection."""
    async with _ports() as (port, _), _balancer(port) as made:
        client = await made.client()
        if idle is not None:
            assert (await client.ask("/")).status == 200
            await asyncio.sleep(idle)  # under test
        client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        failure = await made.failure()
        assert (failure.reason, failure.status) == (reason, status)
        found = _diagnosis(failure, kind="http_502" if status == 502 else "cut_off")
        assert found.cause == cause
        assert "MCLASS_KEEP_ALIVE_SECONDS" not in found.advice


@asynchronous
async def test_a_target_that_closes_every_connection_at_once_is_a_502_without_an_answer() -> None:
    async with _ports() as (_, port), _balancer(port) as made:
        client = await made.client()
        assert (await client.ask("/")).status == 502
        failure = await made.failure()
        assert (failure.reason, failure.status) == ("closed_in_flight", 502)
        assert _diagnosis(failure, kind="http_502").cause == causes.NO_ANSWER


@asynchronous
async def test_a_connection_that_closes_as_a_request_is_on_its_way_is_blamed_on_keep_alive() -> None:
    async with _ports() as (port, _), _balancer(port) as made:
        client = await made.client()
        assert (await client.ask("/idle")).status == 200
        _ask_at_once(client, "/")
        time.sleep(2 * _KEEP_ALIVE)  # noqa: ASYNC251  under test: neither event has been seen when both have happened
        assert (await client.answer()).status == 502
        failure = await made.failure()
        assert (failure.reason, failure.status) == ("closed_while_idle", 502)
        found = _diagnosis(failure, kind="http_502")
        assert found.cause == causes.KEEP_ALIVE
        assert "MCLASS_KEEP_ALIVE_SECONDS" in found.advice


@asynchronous
async def test_a_long_idle_connection_that_closes_over_an_unread_request_is_blamed_on_keep_alive() -> None:
    async with _ports() as (port, _), _balancer(port) as made:
        client = await made.client()
        assert (await client.ask("/unread")).status == 200
        await asyncio.sleep(_LONG_IDLE)  # under test: the connection was idle for long
        assert (await client.ask("/")).status == 502
        assert (await made.failure()).reason == "closed_while_idle"
        assert (await client.ask("/")).status == 200


@asynchronous
async def test_a_client_that_gives_up_blames_neither_target_nor_setting() -> None:
    """The load balancer logs a 460 and reports no failure."""
    async with _ports() as (port, _), _balancer(port) as made:
        client = await made.client()
        client.send(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
        await made.until(lambda: made.count("NewConnectionCount") >= 2)
        client.close()
        (line,) = await made.log_lines()
        assert " 460 - " in line
        assert made.of(Failure) == []
        (found,) = diagnose(replace(rehearsal(), load=load(failed=(failed_request(40, kind="timeout"),))))
        assert found.cause == causes.CLIENT

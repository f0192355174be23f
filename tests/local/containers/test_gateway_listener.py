"""A container's listener is open while it runs, on its own port, and closes with all of its connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from mclass_tf.local.containers.gateway_listener import GatewayListener
from mclass_tf.local.http.server import Reply, Server
from tests.within import within


def listening() -> set[int]:
    found = psutil.Process().net_connections(kind="tcp")
    return {connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN}


def serve_task(listener: socket.socket, task_id: str) -> Server:
    def answer(environ: dict[str, Any]) -> Reply:
        return Reply(status=200, body=f"{task_id} {environ['PATH_INFO']}".encode())

    task_server = Server(listener=listener, app=answer)
    task_server.timeout = 0
    return task_server


@contextmanager
def listener_for(task_id: str) -> Iterator[GatewayListener]:
    listener = GatewayListener("127.0.0.1", task_id=task_id, serve_task=serve_task)
    try:
        yield listener
    finally:
        listener.close()


async def ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """Send a request on a connection that stays open; return the connection and the last line of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /path HTTP/1.1\r\nHost: aws.localhost\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].split("\r\n")[0])
    return reader, writer, (await reader.readexactly(length)).decode()


def test_each_container_has_a_door_of_its_own() -> None:
    async def run() -> None:
        before = listening()
        with listener_for("one") as one, listener_for("two") as two:
            assert one.port != two.port
            for listener, name in ((one, "one"), (two, "two"), (one, "one")):
                _, writer, text = await ask(listener.port)
                assert text == f"{name} /path"
                writer.close()
        assert listening() == before

    asyncio.run(run())


def test_connections_end_with_the_container_and_others_go_on() -> None:
    async def run() -> None:
        with listener_for("one") as one, listener_for("two") as two:
            ended, ending, _ = await ask(one.port)
            kept, keeping, _ = await ask(two.port)
            port = one.port
            one.close()
            assert await within(ended.read(), 30) == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            keeping.write(b"GET /again HTTP/1.1\r\nHost: aws.localhost\r\n\r\n")
            assert b"200" in await within(kept.readline(), 30)
            for writer in (ending, keeping):
                writer.close()

    asyncio.run(run())


def test_what_is_closed_twice_is_closed() -> None:
    async def run() -> None:
        with listener_for("one") as listener:
            listener.close()

    asyncio.run(run())


def test_a_port_that_cannot_be_had_leaves_nothing_open() -> None:
    async def run() -> None:
        before = listening()
        with pytest.raises(OSError, match=r"."):
            GatewayListener("256.0.0.1", task_id="one", serve_task=serve_task)
        assert listening() == before

    asyncio.run(run())

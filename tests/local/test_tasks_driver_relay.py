"""The relay through which containers reach this machine passes connections on, and leaves no port open."""

from __future__ import annotations

import asyncio
import socket

import psutil
import pytest

from mclass_tf.local.tasks.relay import Relay


def listening() -> set[int]:
    found = psutil.Process().net_connections(kind="tcp")
    return {connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN}


def test_it_passes_on_what_comes_and_what_is_answered() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    async def run() -> bytes:
        before = listening()
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            relay = Relay("127.0.0.1")
            port = await relay.port(server.sockets[0].getsockname()[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello\n")
            answer = await reader.read()
            writer.close()
            relay.close()
        assert listening() == before
        return answer

    assert asyncio.run(run()) == b"HELLO\n"


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_port_that_nobody_waits_for_any_more_is_not_left_open(turns: int) -> None:
    async def run() -> None:
        before = listening()
        relay = Relay("127.0.0.1")
        opening = asyncio.create_task(relay.port(9))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        relay.close()
        assert listening() == before

    asyncio.run(run())


def test_a_port_that_cannot_be_listened_on_is_tried_again() -> None:
    async def run() -> None:
        relay = Relay("192.0.2.1")  # of no machine; only Linux lets it be bound
        relay.gateway = "256.0.0.1"
        with pytest.raises(OSError, match=r"."):
            await relay.port(9)
        relay.gateway = "127.0.0.1"
        with socket.create_connection(("127.0.0.1", await relay.port(9))):
            relay.close()

    asyncio.run(run())

"""Clients that a security group admits are answered, under their address in AWS; the others get silence."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from mclass_tf.local.balancer import clients as silence
from mclass_tf.local.balancer.snapshot import Clients, Snapshot
from tests.local.data_plane import Client, asynchronous, fixed, listener, plane, rule, world

_QUESTION = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"


def _answering(*, outside: str | None = None, tasks: Mapping[str, str | None] | None = None) -> Snapshot:
    """Return a load balancer that answers with 404 by itself."""
    own = replace(listener(rule(fixed(404))), clients=Clients(outside=outside, tasks=tasks or {}))
    return world(listeners=[own], attributes={"access_logs.s3.enabled": "true"})


async def _is_silent(client: Client) -> bool:
    """Return whether nothing comes back although another connection has had its answer."""
    client.send(_QUESTION)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.reader.read(1)
    return not client.reader.at_eof()


@asynchronous
async def test_a_client_that_is_not_admitted_gets_no_answer_and_no_end() -> None:
    async with plane(_answering()) as made:
        assert await _is_silent(await made.client())

        await made.apply(_answering(outside="198.51.100.9"))
        client = await made.client()
        assert (await client.ask()).status == 404
        (line,) = await made.log_lines(1)
        port = client.writer.get_extra_info("sockname")[1]
        assert f" 198.51.100.9:{port} " in line
        assert made.count("NewConnectionCount") == 1


@asynchronous
async def test_a_connection_outlives_the_rule_that_admitted_it() -> None:
    async with plane(_answering(outside="198.51.100.9")) as made:
        client = await made.client()
        assert (await client.ask()).status == 404
        await made.apply(_answering())
        assert (await client.ask()).status == 404
        assert await _is_silent(await made.client())


@asynchronous
async def test_a_task_is_told_apart_by_its_address_on_this_machine() -> None:
    async with plane(_answering(tasks={"127.0.0.9": "10.0.0.7"})) as made:
        opened = await asyncio.open_connection(
            "127.0.0.1", made.port("listener"), local_addr=("127.0.0.9", 0)
        )
        task = Client(*opened)
        assert (await task.ask()).status == 404
        assert " 10.0.0.7:" in (await made.log_lines(1))[0]
        assert await _is_silent(await made.client())
        task.close()


@asynchronous
async def test_silent_connections_are_bounded() -> None:
    async with plane(_answering()) as made:
        first = await made.client()
        assert await _is_silent(first)
        others = [await made.client() for _ in range(silence._MAX_SILENT)]
        assert await first.rest() == b""
        assert await _is_silent(others[-1])


@asynchronous
async def test_silence_ends_after_the_time_for_which_a_kernel_tries_to_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(silence, "_SILENT_SECONDS", 0.05)
    async with plane(_answering()) as made:
        assert await (await made.client()).rest() == b""

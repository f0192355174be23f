"""Changes of targets, rules, weights and listeners affect only what they must."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest

from mclass_tf.local.balancer.report import Failure, Listening
from mclass_tf.local.balancer.snapshot import Snapshot, TargetGroup
from tests.local.data_plane import (
    Client,
    Message,
    Plane,
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


async def _wait_where_asked(asked: Message, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if asked.path == "/wait":
        await asyncio.Event().wait()
    writer.write(answer())


def _world(blue: TargetGroup, green: TargetGroup, *, weights: tuple[int, int]) -> Snapshot:
    action = forward(("blue", weights[0]), ("green", weights[1]))
    return world(blue, green, listeners=[listener(rule(action))])


async def _swap(made: Plane, old: list[Site], *, turns: int) -> list[Site]:
    """Replace targets and shift weights `turns` times, each time when the old targets are idle; return the last targets."""
    weights = itertools.cycle(((100, 0), (50, 50), (0, 100), (90, 10)))
    for _ in range(turns):
        new = [Site(), Site()]
        for site in new:
            await site.start()
        left = [site.target(is_draining=True) for site in old]
        blue, green = group("blue", new[0], left[0]), group("green", new[1], left[1])
        await made.apply(_world(blue, green, weights=next(weights)))
        await made.healthy(*new)
        await made.until(lambda idle=old: not any(site.connections for site in idle))  # type: ignore[misc]
        await made.apply(_world(group("blue", new[0]), group("green", new[1]), weights=next(weights)))
        for site in old:
            await site.stop()
        old = new
    return old


@asynchronous
async def test_20_swaps_of_targets_and_weights_disturb_no_request_and_no_connection() -> None:
    first = [Site(), Site()]
    for site in first:
        await site.start()
    async with plane(_world(group("blue", first[0]), group("green", first[1]), weights=(100, 0))) as made:
        await made.healthy(*first)
        clients = [await made.client() for _ in range(10)]
        done = asyncio.Event()
        answered: list[int] = []

        async def ask(client: Client) -> None:
            """Send requests on one connection during the swaps, at least 200."""
            asked = 0
            while asked < 200 or not done.is_set():
                answered.append((await client.ask()).status)
                asked += 1

        asking = asyncio.gather(*(ask(client) for client in clients))
        last = await _swap(made, first, turns=20)
        done.set()
        await asking
        assert len(answered) >= 2000
        assert set(answered) == {200}, made.of(Failure)
        assert made.of(Failure) == []
        assert not any(client.reader.at_eof() for client in clients)
    for site in last:
        await site.stop()


@asynchronous
async def test_a_draining_target_finishes_its_requests_and_gets_no_new_ones() -> None:
    release = asyncio.Event()

    async def wait(asked: Message, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/wait":
            await release.wait()
        writer.write(answer(b"finished"))

    async with sites(wait, None) as (old, new), plane(world(group("blue", old))) as made:
        await made.healthy(old)
        busy, client = await made.client(), await made.client()
        busy.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await made.until(lambda: len(old.requests) == 1)
        await made.apply(world(group("blue", old.target(is_draining=True), new)))
        await made.healthy(new)
        assert {(await client.ask()).body.decode() for _ in range(4)} == {new.name}
        release.set()
        assert (await busy.answer()).body == b"finished"
        assert (await busy.ask()).body.decode() == new.name
        await made.until(lambda: not old.connections)


@asynchronous
async def test_a_request_pending_at_the_end_of_the_deregistration_delay_gets_a_502() -> None:
    async with sites(_wait_where_asked, None) as (old, new), plane(world(group("blue", old))) as made:
        await made.healthy(old)
        client = await made.client()
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await made.until(lambda: len(old.requests) == 1)
        await made.apply(world(group("blue", old.target(is_draining=True), new)))
        await made.healthy(new)
        await made.apply(world(group("blue", new)))
        assert (await client.answer()).status == 502
        failure = await made.failure()
        assert (failure.reason, failure.target) == ("deregistration_delay", old.name)
        assert failure.target_is_draining
        assert failure.in_flight_seconds > 0
        assert (await client.ask()).status == 200


@asynchronous
async def test_an_answer_under_way_at_the_end_of_the_deregistration_delay_is_broken_off() -> None:
    async def begin(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
        await asyncio.Event().wait()

    async with sites(begin) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.reader.readuntil(b"some")
        await made.apply(world(group("blue")))
        assert await client.rest() == b""
        assert (await made.failure()).reason == "deregistration_delay"


@asynchronous
async def test_changed_rules_and_settings_apply_to_open_connections() -> None:
    async with plane(world(listeners=[listener(rule(fixed(200, "one")))])) as made:
        client = await made.client()
        assert (await client.ask()).body == b"one"
        await made.apply(world(listeners=[listener(rule(fixed(200, "two")), port=8080)]))
        assert (await client.ask()).body == b"two"
        assert len(made.of(Listening)) == 1


@asynchronous
async def test_a_deleted_listener_refuses_connections_and_closes_idle_ones() -> None:
    both = [listener(rule(fixed(200))), listener(rule(fixed(200)), arn="test", port=8080)]
    async with plane(world(listeners=both)) as made:
        kept, closed = await made.client(), await made.client("test")
        assert [(await client.ask()).status for client in (kept, closed)] == [200, 200]
        await made.apply(world(listeners=both[:1]))
        assert await closed.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await made.client("test")
        assert (await kept.ask()).status == 200


@asynchronous
async def test_a_request_under_way_at_a_deleted_listener_is_answered() -> None:
    release = asyncio.Event()

    async def wait(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(answer())

    async with sites(wait) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await made.until(lambda: len(site.requests) == 1)
        await made.apply(world(group("blue", site), listeners=[]))
        release.set()
        got = await client.answer()
        assert (got.status, got.header("connection")) == (200, "close")
        assert await client.rest() == b""


@asynchronous
async def test_a_target_with_a_changed_address_gets_requests_there() -> None:
    async with sites(None, None) as (one, two), plane(world(group("blue", one))) as made:
        await made.healthy(one)
        client = await made.client()
        assert (await client.ask()).body.decode() == one.name
        two.ip = one.ip
        await made.apply(world(group("blue", two)))
        assert (await client.ask()).status == 200
        assert (len(one.requests), len(two.requests)) == (1, 1)


@asynchronous
async def test_an_invalid_rule_or_attribute_does_not_block_other_changes() -> None:
    bad = group("bad", attributes={"slow_start.duration_seconds": "abc"})
    wrong = rule({"Type": "redirect", "RedirectConfig": {"StatusCode": "permanent"}})
    lost = replace(listener(rule(fixed(200)), arn="lost"), protocol="HTTPS", certificate="?", private_key="?")
    async with sites(None, None) as (one, two):
        first = world(group("blue", one), bad, listeners=[listener(rule(forward("bad")), arn="old")])
        async with plane(first, may_complain=True) as made:
            told = world(
                replace(bad, targets=(two.target(),)),
                listeners=[
                    listener(wrong, arn="new"),
                    lost,
                    listener(rule(forward("bad")), arn="old"),
                    listener(rule(fixed(200, "good"))),
                ],
            )
            await made.apply(told)
            assert (await (await made.client()).ask()).body == b"good"
            assert (await (await made.client("old")).ask()).body.decode() == two.name
            assert {found.listener_arn for found in made.of(Listening)} == {"old", "listener"}
            errors = "".join(made.errors)
            assert "The attributes of bad are not in force: slow_start.duration_seconds" in errors
            assert "The listener new is not in force" in errors
            assert "The listener lost is not in force" in errors


@asynchronous
async def test_a_load_balancer_with_invalid_attributes_keeps_its_settings() -> None:
    before = world(listeners=[listener(rule(fixed(200, "before")))])
    async with plane(before, may_complain=True) as made:
        after = world(
            listeners=[listener(rule(fixed(200, "after")))],
            attributes={"idle_timeout.timeout_seconds": "60s"},
        )
        await made.apply(after)
        assert (await (await made.client()).ask()).body == b"before"
        assert "idle_timeout.timeout_seconds is no number: '60s'" in "".join(made.errors)
        await made.apply(world(listeners=[listener(rule(fixed(200, "after")))]))
        assert (await (await made.client()).ask()).body == b"after"

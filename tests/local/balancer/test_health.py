"""Health checks: their timing, results and effects."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mclass_tf.local.balancer.health import matches
from mclass_tf.local.balancer.report import Health
from mclass_tf.local.balancer.snapshot import HealthCheck
from tests.local.data_plane import (
    HEALTH_PATH,
    Site,
    asynchronous,
    forward,
    group,
    listener,
    plane,
    rule,
    sites,
    world,
)

CHECK = HealthCheck(
    path=HEALTH_PATH, interval=10, timeout=1, healthy_threshold=3, unhealthy_threshold=2, matcher="200"
)


@pytest.mark.parametrize(
    ("matcher", "status", "expected"),
    [
        ("200", 200, True),
        ("200", 201, False),
        ("200,204", 204, True),
        ("200-299", 250, True),
        ("200-299", 300, False),
        ("200-201,404", 404, True),
    ],
)
def test_a_matcher_is_a_list_or_a_range(matcher: str, status: int, *, expected: bool) -> None:
    assert matches(status, matcher) is expected


@asynchronous
async def test_a_new_target_is_checked_immediately_and_needs_one_success() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site, check=CHECK), speed=1)) as made:
        await made.healthy(site)
        assert made.states(site) == ["initial", "healthy"]
        assert len(site.checks) == 1
        assert made.of(Health)[0] == Health(
            target_group_arn="blue",
            ip=site.ip,
            port=3000,
            state="initial",
            reason="Elb.InitialHealthChecking",
            description="Initial health checks in progress",
        )
        assert made.state(site).reason is None


@asynchronous
async def test_a_check_identifies_itself() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site, check=CHECK))) as made:
        await made.healthy(site)
        asked = site.checks[0]
        assert asked.first == ("GET", "/health", "HTTP/1.1")
        assert asked.header("user-agent") == "ELB-HealthChecker/2.0"
        assert asked.header("connection") == "close"
        assert asked.header("host") == f"{site.ip}:3000"


@asynchronous
async def test_a_target_becomes_unhealthy_and_healthy_again_by_its_thresholds() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site, check=CHECK), speed=50)) as made:
        await made.healthy(site)
        site.health, failed = 503, len(site.checks)
        await made.until(lambda: made.states(site)[-1] == "unhealthy")
        assert len(site.checks) - failed >= 2
        found = made.state(site)
        assert found.reason == "Target.ResponseCodeMismatch"
        assert found.description == "Health checks failed with these codes: [503]"
        site.health, passed = 200, len(site.checks)
        await made.healthy(site)
        assert len(site.checks) - passed >= 3
        assert made.states(site) == ["initial", "healthy", "unhealthy", "healthy"]


@asynchronous
async def test_one_failure_below_the_threshold_changes_nothing() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site, check=CHECK), speed=50)) as made:
        await made.healthy(site)
        for _ in range(3):
            failed = len(site.checks)
            site.health = 503
            await made.until(lambda seen=failed: len(site.checks) > seen)  # type: ignore[misc]
            site.health, passed = 200, len(site.checks)
            await made.until(lambda seen=passed: len(site.checks) > seen)  # type: ignore[misc]
        assert made.states(site) == ["initial", "healthy"]


@asynchronous
async def test_a_refused_connection_fails_the_check() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site, check=CHECK), speed=50)) as made:
        await made.healthy(site)
        await site.stop()
        await made.until(lambda: made.states(site)[-1] == "unhealthy")
        assert made.state(site).reason == "Target.FailedHealthChecks"
        assert made.state(site).description == "Health checks failed"


@asynchronous
async def test_an_unanswered_check_times_out_without_delaying_the_next() -> None:
    async with sites(None) as (site,):
        site.health_delay = asyncio.Event()
        async with plane(world(group("blue", site, check=CHECK), speed=100)) as made:
            before = asyncio.get_running_loop().time()
            await made.until(lambda: made.states(site)[-1:] == ["unhealthy"])
            assert asyncio.get_running_loop().time() - before > 0.8
            assert made.state(site).reason == "Target.Timeout"
            assert made.state(site).description == "Request timed out"
            assert len(site.checks) > 5  # checks do not wait for each other


@asynchronous
async def test_a_target_that_cannot_be_reached_times_out() -> None:
    async with sites(None) as (site,):
        target = replace(site.target(), address=None)
        async with plane(world(group("blue", target, check=CHECK), speed=100)) as made:
            await made.until(lambda: made.states(site)[-1:] == ["unhealthy"])
            assert made.state(site).reason == "Target.Timeout"
            await made.apply(world(group("blue", site, check=CHECK), speed=100))
            await made.healthy(site)


@asynchronous
async def test_what_is_not_http_fails_the_check() -> None:
    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    site = Site()
    target = replace(site.target(), address=server.sockets[0].getsockname()[:2])
    async with plane(world(group("blue", target, check=CHECK), speed=50)) as made:
        await made.until(lambda: made.states(site)[-1:] == ["unhealthy"])
        assert made.state(site).reason == "Target.FailedHealthChecks"
    server.close()


@asynchronous
async def test_a_separate_health_check_port_is_used_if_given() -> None:
    async with sites(None, None) as (serving, checked):
        check = replace(CHECK, port=str(checked.port))
        async with plane(world(group("blue", serving, check=check))) as made:
            await made.healthy(serving)
            assert serving.checks == []
            assert checked.checks[0].header("host") == f"{serving.ip}:{checked.port}"


@asynchronous
async def test_intervals_follow_the_clock() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site, check=CHECK), speed=1)) as made:
        await made.healthy(site)
        assert len(site.checks) == 1
        await made.apply(world(group("blue", site, check=CHECK), speed=200))
        await made.until(lambda: len(site.checks) > 10)


@asynchronous
async def test_targets_of_a_group_that_no_rule_names_are_unused_and_not_checked() -> None:
    async with sites(None, None) as (one, two):
        groups = group("blue", one), group("green", two)
        async with plane(world(*groups)) as made:
            await made.healthy(one)
            assert made.states(two) == ["unused"]
            assert made.state(two).reason == "Target.NotInUse"
            assert two.checks == []
            named = [listener(rule(forward(("blue", 1), ("green", 0))))]
            await made.apply(world(*groups, listeners=named))
            await made.healthy(two)
            assert made.states(two) == ["unused", "initial", "healthy"]


@asynchronous
async def test_a_draining_target_is_not_checked_and_starts_as_initial_when_reregistered() -> None:
    async with sites(None) as (site,), plane(world(group("blue", site))) as made:
        await made.healthy(site)
        await made.apply(world(group("blue", site.target(is_draining=True))))
        found = made.state(site)
        assert (found.state, found.reason) == ("draining", "Target.DeregistrationInProgress")
        assert found.description == "Target deregistration is in progress"
        await made.apply(world(group("blue", site)))
        await made.healthy(site)
        assert made.states(site) == ["initial", "healthy", "draining", "initial", "healthy"]


@asynchronous
async def test_one_target_has_a_separate_health_in_each_group() -> None:
    async with sites(None) as (site,):
        other = replace(CHECK, path="/else", matcher="404")
        groups = group("blue", site, check=CHECK), group("green", site, check=other)
        both = [listener(rule(forward("blue", "green")))]
        async with plane(world(*groups, listeners=both, speed=50)) as made:
            await made.until(lambda: made.states(site, "green")[-1:] == ["unhealthy"])
            await made.until(lambda: made.states(site, "blue")[-1:] == ["healthy"])


@asynchronous
async def test_a_minimum_of_healthy_targets_decides_whether_unhealthy_ones_get_requests() -> None:
    fewest = {"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "2"}
    async with sites(None, None) as (one, two):
        two.health = 500
        async with plane(world(group("blue", one, two, attributes=fewest))) as made:
            await made.healthy(one)
            await made.until(lambda: made.states(two)[-1:] == ["unhealthy"])
            client = await made.client()
            assert {(await client.ask()).body.decode() for _ in range(4)} == {one.name, two.name}
            await made.apply(world(group("blue", one, two)))
            assert {(await client.ask()).body.decode() for _ in range(4)} == {one.name}

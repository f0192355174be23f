"""The process: its end, its reports and its addresses."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from mclass_tf.local.balancer.report import AccessLog, Listening
from tests.local.access.test_peers import AS_ROOT, SOMEBODY_ELSE, client
from tests.local.data_plane import (
    PATIENCE,
    asynchronous,
    fixed,
    forward,
    group,
    listener,
    process,
    rule,
    sites,
    world,
)
from tests.within import within


@asynchronous
async def test_it_ends_at_sigterm_even_with_connections_open() -> None:
    async with process(world(listeners=[listener(rule(fixed(200)))])) as made:
        client = await made.client()
        await client.ask()
        made.process.send_signal(signal.SIGTERM)
        assert await within(made.process.wait(), PATIENCE) == 0
        assert await client.rest() == b""


@AS_ROOT
@pytest.mark.parametrize("uid", [0, SOMEBODY_ELSE])
@asynchronous
async def test_another_user_of_the_machine_gets_no_answer(uid: int) -> None:
    async with process(world(listeners=[listener(rule(fixed(200, "for the owner")))])) as made:
        (found,) = made.of(Listening)
        with client(found.port, uid=uid, text="GET / HTTP/1.1\r\nHost: a\r\n\r\n") as other:
            out, _ = await asyncio.to_thread(other.communicate, timeout=PATIENCE)
        assert ("200 OK" in out) is (uid == 0)
        assert "connected" in out


@asynchronous
async def test_it_listens_only_on_loopback() -> None:
    async with process(world(listeners=[listener(rule(fixed(200)))])) as made:
        (found,) = made.of(Listening)
        assert (found.listener_arn, found.host) == ("listener", "127.0.0.1")
        sockets = psutil.Process(made.process.pid).net_connections("inet")
        listening = [made_one.laddr for made_one in sockets if made_one.status == psutil.CONN_LISTEN]
        assert listening == [("127.0.0.1", found.port)]


@asynchronous
async def test_an_unreadable_snapshot_leaves_the_previous_one_in_force() -> None:
    async with process(world(listeners=[listener(rule(fixed(200, "still")))]), may_complain=True) as made:
        await made.write(b"nonsense\n")
        await made.until(lambda: "a snapshot could not be applied" in "".join(made.errors))
        assert (await (await made.client()).ask()).body == b"still"


@asynchronous
async def test_an_https_listener_without_a_certificate_does_not_affect_others() -> None:
    secure = listener(rule(fixed(200)), arn="secure", port=443)
    object.__setattr__(secure, "protocol", "HTTPS")
    snapshot = world(listeners=[secure, listener(rule(fixed(200)))])
    async with process(snapshot, may_complain=True) as made:
        assert [found.listener_arn for found in made.of(Listening)] == ["listener"]
        await made.until(lambda: "has no certificate" in "".join(made.errors))


@asynchronous
async def test_an_action_that_is_not_modelled_is_a_500() -> None:
    login = {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {}}
    asked = rule(login)
    object.__setattr__(asked, "actions", (login, {**forward("blue"), "Order": 2}))
    async with sites(None) as (site,):
        snapshot = world(group("blue", site), listeners=[listener(asked)])
        async with process(snapshot, may_complain=True) as made:
            assert (await (await made.client()).ask()).status == 500
            await made.until(lambda: "authenticate-oidc is not modelled" in "".join(made.errors))


_PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "mclass_tf.local.balancer"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_it_dies_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    try:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        with suppress(psutil.NoSuchProcess):
            _gone(child)
    finally:
        parent.kill()
        parent.communicate()


def _gone(process: psutil.Process) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail("it outlived its parent")
        time.sleep(0.02)


@asynchronous
async def test_it_serves_without_uvloop(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError")
    snapshot = world(listeners=[listener(rule(fixed(200, "hello")))])
    async with process(snapshot, path=tmp_path) as made:
        assert (await (await made.client()).ask()).body == b"hello"


@asynchronous
async def test_its_counts_are_reported_before_it_ends() -> None:
    attributes = {"access_logs.s3.enabled": "true"}
    async with process(world(listeners=[listener(rule(fixed(200)))], attributes=attributes)) as made:
        client = await made.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)  # more than a pipe holds
        for _ in range(2000):
            await client.answer()
    assert made.count("HTTP_Fixed_Response_Count") == 2000
    assert sum(len(found.lines) for found in made.of(AccessLog)) == 2000

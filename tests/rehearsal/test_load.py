"""The load, really sent: its counts match the server's, and a stall of the service affects all requests due in that time."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from aiohttp import web

from mclass_tf.rehearsal.load_sender import LoadError, LoadSender
from mclass_tf.rehearsal.plan import BurstProbe, LoadEndpoint, LoadPlan
from mclass_tf.rehearsal.result import LoadResult
from mclass_tf.rehearsal.tally import KEPT_FAILURES, RequestOutcome, Tally
from tests.need import need
from tests.rehearsal.servers import Server, answer, answer_correctly, serving


def plan(
    port: int,
    *,
    rate: float = 100,
    long_share: float = 0,
    long_ms: int = 300,
    probe: BurstProbe | None = None,
    timeout: float = 5,
    new_connection_share: float = 0.2,
) -> LoadPlan:
    return LoadPlan(
        where=LoadEndpoint(scheme="http", host="127.0.0.1", port=port, host_header="mclass.test"),
        rate=rate,
        long_share=long_share,
        long_ms=long_ms,
        probe=probe,
        timeout=timeout,
        new_connection_share=new_connection_share,
    )


def sent(wanted: LoadPlan, *, requests: int) -> LoadResult:
    """Send at least this number of requests."""
    with LoadSender(wanted) as load:
        load.wait(seconds=60, until=lambda: load.sent >= requests)
        return load.stop()


class Counting:
    """Answers correctly, and counts."""

    def __init__(self) -> None:
        self.requests = 0
        self.hosts: Counter[str] = Counter()
        self.connections: set[object] = set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.hosts[request.host] += 1
        self.connections.add(request.transport)
        return await answer_correctly(request)


def test_the_counts_match_the_requests_at_the_server() -> None:
    counting = Counting()
    with serving(counting) as server:
        found = sent(plan(server.port, long_share=0.05, probe=BurstProbe(connections=5)), requests=200)

    assert counting.requests == found.sent
    assert found.failures == 0
    assert found.by_kind == {}
    assert set(counting.hosts) == {"mclass.test"}


def test_the_rate_is_kept() -> None:
    with serving(answer_correctly) as server:
        found = sent(plan(server.port, rate=150), requests=450)

    assert found.sender.achieved_rate == pytest.approx(150, rel=0.05)


def test_connections_are_new_and_reused_as_asked_for() -> None:
    with serving(answer_correctly) as server:
        none = sent(plan(server.port, new_connection_share=0), requests=200)
        all_new = sent(plan(server.port, new_connection_share=1), requests=200)

    assert none.connections_new <= 40
    assert none.connections_reused >= 150
    assert all_new.connections_reused == 0


def test_samples_and_phases_have_the_same_counts() -> None:
    with serving(answer_correctly) as server:
        found = sent(plan(server.port), requests=250)

    assert sum(sample.sent for sample in found.samples) == found.sent
    assert sum(sum(sample.versions.values()) for sample in found.samples) == found.sent
    assert {version for sample in found.samples for version in sample.versions} == {"one"}


class Stalling:
    """Answers at once, but on request stalls for `seconds`, like a garbage collection."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._free = asyncio.Event()
        self._free.set()
        self.stall = threading.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if self.stall.is_set():
            self.stall.clear()
            self._free.clear()
            asyncio.get_running_loop().call_later(self._seconds, self._free.set)
        await self._free.wait()
        return await answer_correctly(request)


def test_a_stall_is_seen_by_every_request_that_was_due_meanwhile() -> None:
    """A closed loop would see one slow request; an open one sees the whole second of them."""
    stalling = Stalling(1.0)
    with serving(stalling) as server, LoadSender(plan(server.port, rate=100)) as load:
        load.wait(seconds=60, until=lambda: load.sent >= 100)
        load.enter("during")
        stalling.stall.set()
        load.wait(seconds=60, until=lambda: load.sent >= 300)
        found = load.stop()

    during = found.phase("during")
    assert during is not None
    assert during.latency is not None
    assert found.failures == 0
    # A hundred of them waited, half a second on average.
    assert during.latency.max >= 900
    assert during.latency.p90 >= 500 * (100 / during.steady)
    slow = during.steady * (1 - _share_below(during.histogram, 100))
    assert slow == pytest.approx(90, abs=15)


def _share_below(encoded: str, milliseconds: float) -> float:
    from mclass_tf.rehearsal.tally import histogram  # noqa: PLC0415

    recorded = histogram()
    recorded.decode_and_add(encoded)
    below = sum(
        step.count_added_in_this_iter_step
        for step in recorded.get_recorded_iterator()
        if step.value_iterated_to <= milliseconds * 1000
    )
    return float(below / recorded.get_total_count())


def test_long_requests_are_measured_by_what_they_took_beyond_what_was_asked() -> None:
    with serving(answer_correctly) as server:
        found = sent(plan(server.port, long_share=0.3, long_ms=300), requests=150)

    (phase,) = found.phases
    assert phase.long_latency is not None
    assert phase.latency is not None
    assert phase.long_latency.count + phase.latency.count == found.sent
    assert phase.latency.p50 < 100
    assert phase.long_latency.p50 < 100


@pytest.mark.parametrize(
    ("kind", "behave"),
    [
        ("http_503", lambda _: answer(status=503)),
        ("wrong_answer", lambda _: web.Response(text="<html>welcome</html>")),
    ],
)
def test_an_answer_that_is_not_the_services_is_a_failure(kind: str, behave: object) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert callable(behave)
        response: web.StreamResponse = behave(request)
        return response

    with serving(handler) as server:
        found = sent(plan(server.port), requests=100)

    assert found.by_kind == {kind: found.sent}


async def _hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return answer()


async def _break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize(("kind", "handler"), [("closed", _hang_up), ("cut_off", _break_off)])
def test_a_connection_that_ends_is_a_failure_and_nothing_is_tried_again(kind: str, handler: object) -> None:
    seen = 0

    async def counted(request: web.Request) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        assert callable(handler)
        response: web.StreamResponse = await handler(request)
        return response

    with serving(counted) as server:
        found = sent(plan(server.port), requests=100)

    assert found.by_kind == {kind: found.sent}
    assert seen == found.sent


def test_an_idle_connection_that_is_closed_under_a_request_is_not_tried_again() -> None:
    """Without our setting, aiohttp would silently send the request again."""
    seen = 0
    first: set[object] = set()

    async def once(request: web.Request) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        if request.transport in first:
            assert request.transport is not None
            request.transport.close()
        first.add(request.transport)
        return answer()

    with serving(once) as server:
        found = sent(plan(server.port, new_connection_share=0), requests=100)

    assert found.by_kind["closed"] > 30
    assert seen == found.sent


def test_a_port_where_nobody_listens_refuses() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = sent(plan(taken.getsockname()[1]), requests=100)

    assert found.by_kind == {"connect_refused": found.sent}
    assert found.phases[0].latency is None


def test_a_server_that_never_answers_is_given_up_and_its_time_counts() -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    with serving(never) as server:
        found = sent(plan(server.port, timeout=1), requests=100)

    assert found.by_kind == {"timeout": found.sent}
    latency = found.phases[0].latency
    assert latency is not None
    assert latency.p50 == pytest.approx(1000, rel=0.2)


def test_each_failure_is_reported_and_counted() -> None:
    async def fail(_: web.Request) -> web.StreamResponse:
        return answer(status=500)

    with serving(fail) as server:
        found = sent(plan(server.port, rate=200), requests=300)

    assert len(found.failed) + found.left_out == found.failures == found.sent


def test_the_failures_that_are_kept_are_bounded() -> None:
    tally = Tally(wall=0, now=0)
    for number in range(KEPT_FAILURES + 10):
        tally.began(part="steady", due=0, begun=0)
        failed = tally.ended(
            RequestOutcome(
                part="steady",
                path="/",
                number=number,
                due=0,
                begun=0,
                ended=0.1,
                kind="closed",
                connection="new",
            )
        )
        assert (failed is None) == (number >= KEPT_FAILURES)
    assert tally.failed == KEPT_FAILURES + 10
    assert tally.left_out == 10


def _wait_for(load: LoadSender, *, more: int) -> None:
    """Wait for this number of further requests: the earlier phase has sent some too."""
    enough = load.sent + more
    load.wait(seconds=60, until=lambda: load.sent >= enough)


def test_phases_take_the_requests_that_are_due_in_them() -> None:
    with serving(answer_correctly) as server, LoadSender(plan(server.port)) as load:
        load.enter("before")
        _wait_for(load, more=100)
        load.enter("after")
        _wait_for(load, more=100)
        found = load.stop()

    assert [phase.name for phase in found.phases] == ["warm-up", "before", "after"]
    before, after = found.phases[1:]
    assert before.sent >= 90
    assert before.sent == pytest.approx((before.ended_at - before.started_at) * 100, abs=5)
    assert after.sent == pytest.approx((after.ended_at - after.started_at) * 100, abs=5)


def test_bursts_go_over_connections_that_were_idle_since_the_last_one() -> None:
    """A server with an idle timeout of half a second meets bursts half a second apart."""
    counting = Counting()
    probe = BurstProbe(connections=8, intervals=(0.3,))
    with serving(counting) as server:
        found = sent(plan(server.port, rate=5, probe=probe, new_connection_share=1), requests=100)

    # The first burst opens eight connections, the others use them.
    assert found.connections_reused >= 0.6 * found.sent


def test_a_sender_that_is_late_says_so() -> None:
    """The sender is stopped for a moment, so the requests due in that time are late by its own fault."""
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415

    with serving(answer_correctly) as server, LoadSender(plan(server.port)) as load:
        load.enter("before")
        load.wait(seconds=60, until=lambda: load.sent >= 100)
        os.kill(load._process.pid, signal.SIGSTOP)
        time.sleep(1)  # the fault itself, not a wait for a condition
        os.kill(load._process.pid, signal.SIGCONT)
        load.wait(seconds=60, until=lambda: load.sent >= 300)
        found = load.stop()

    assert found.sender.is_behind
    assert "late" in found.sender.why
    assert found.sender.worst_ms >= 900
    assert found.sent >= 300


def test_a_load_process_that_dies_is_reported_and_leaves_nothing_behind() -> None:
    with serving(answer_correctly) as server, LoadSender(plan(server.port)) as load:
        load._process.kill()
        with pytest.raises(LoadError, match="failed"):
            load.wait(seconds=60)
    assert load._process.poll() is not None


def test_the_load_ends_when_nobody_listens_to_it_any_more() -> None:
    with serving(answer_correctly) as server:
        child = subprocess.Popen(
            (sys.executable, "-m", "mclass_tf.rehearsal.load"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        out, _ = child.communicate(plan(server.port).to_json() + "\n", timeout=30)

    assert child.returncode == 0
    assert out.splitlines()[-1].startswith('{"end"')


def test_a_plan_survives_its_way_to_the_process() -> None:
    wanted = plan(1234, probe=BurstProbe(connections=3, intervals=(1.0, 2.0)))
    assert LoadPlan.from_json(wanted.to_json()) == wanted
    assert LoadPlan.from_json(plan(1).to_json()) == plan(1)


@pytest.mark.parametrize("rate", [0, -1, 5000, float("nan")])
def test_a_rate_that_cannot_be_sent_is_a_problem(rate: float) -> None:
    assert plan(1, rate=rate).problems()
    assert plan(1, rate=200).problems() == []


@pytest.mark.slow
def test_an_established_load_generator_counts_the_same() -> None:
    """Wrk and our load, one after the other, against a server that counts and fails every tenth request: both agree with it."""
    need("wrk")
    counts: Counter[int] = Counter()

    async def tenth(request: web.Request) -> web.StreamResponse:
        status = 503 if counts.total() % 10 == 9 else 200
        counts[status] += 1
        return answer(status=status)

    with serving(tenth) as server:
        ours = sent(plan(server.port, rate=200), requests=600)
        seen = dict(counts)
        counts.clear()
        told = _wrk(server)
        theirs = dict(counts)

    assert (ours.sent, ours.by_kind) == (seen[200] + seen[503], {"http_503": seen[503]})
    # wrk omits the requests in flight at its end.
    assert told == pytest.approx((theirs[200] + theirs[503], theirs[503]), abs=10)


def _wrk(server: Server) -> tuple[int, int]:
    """Return requests and non-2xx answers as wrk counts them."""
    command = ("wrk", "-t1", "-c4", "-d2s", f"http://127.0.0.1:{server.port}/version")
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    requests = re.search(r"(\d+) requests in", out)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    assert requests is not None, out
    return int(requests[1]), int(failed[1]) if failed else 0

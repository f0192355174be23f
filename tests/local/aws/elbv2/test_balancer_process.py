"""The control plane of the load balancer process, with a fake process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mclass_tf.local.aws.elbv2.balancer_process import COMMAND, Balancer
from mclass_tf.local.aws.elbv2.snapshot import BuiltSnapshot
from mclass_tf.local.balancer.report import Applied, Report
from mclass_tf.local.balancer.snapshot import HealthCheck, Snapshot, Target, TargetGroup
from mclass_tf.local.live import live

_FAKE = Path(__file__).parents[2] / "fake_balancer.py"
_DEADLINE = 20.0


@dataclass(kw_only=True)
class State:
    """The source of the snapshots, and the reports that were received."""

    folder: Path
    speed: float = 1
    targets: tuple[Target, ...] = ()
    next_end: float | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    fault: str | None = None
    reports: list[Report] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def build(self, version: int) -> BuiltSnapshot:
        assert self.lock.locked()
        if self.fault is not None:
            raise AttributeError(self.fault)
        group = TargetGroup(
            arn="arn:group",
            name="web",
            protocol="HTTP",
            health_check=HealthCheck(),
            attributes=self.attributes,
            targets=self.targets,
        )
        snapshot = Snapshot(version=version, speed=self.speed, load_balancers=(), target_groups=(group,))
        return BuiltSnapshot(snapshot=snapshot, next_end=self.next_end)

    def take(self, report: Report) -> None:
        assert self.lock.locked()
        self.reports.append(report)

    def sent(self) -> list[Snapshot]:
        return [Snapshot.from_json(path.read_text()) for path in sorted(self.folder.glob("*.json"))]

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        with self.lock:
            yield


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(folder=tmp_path)


@contextlib.asynccontextmanager
async def running(state: State, *, command: tuple[str, ...] = ()) -> AsyncIterator[Balancer]:
    balancer = Balancer(
        exclusive=state.exclusive,
        build=state.build,
        take=state.take,
        command=command or (sys.executable, str(_FAKE), str(state.folder)),
    )
    task = asyncio.create_task(balancer.run())
    try:
        yield balancer
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it never came to this"
        await asyncio.sleep(0.01)


def test_each_change_is_sent_once(state: State) -> None:
    async def scenario() -> None:
        async with running(state) as balancer:
            await until(lambda: balancer.applied == 1)
            for topic in ("elbv2", "ecs", "targets"):
                live.changed(topic)
            state.targets = (Target(ip="10.0.0.7", port=3000, address=("127.0.0.1", 9)),)
            live.changed("elbv2")
            await until(lambda: balancer.applied == 2)
            state.speed = 10
            live.changed("elbv2")
            await until(lambda: balancer.applied == 3)

    asyncio.run(scenario())
    assert [
        (snapshot.version, snapshot.speed, len(snapshot.target_groups[0].targets))
        for snapshot in state.sent()
    ] == [
        (1, 1.0, 0),
        (2, 1.0, 1),
        (3, 10.0, 1),
    ]
    assert Applied(version=2) in state.reports


def test_a_drained_target_is_removed_without_another_change(state: State) -> None:
    async def scenario() -> None:
        state.targets = (Target(ip="10.0.0.7", port=3000, address=None, is_draining=True),)
        state.next_end = time.time() + 0.3
        async with running(state) as balancer:
            await until(lambda: balancer.applied == 1)
            state.targets, state.next_end = (), None
            await until(lambda: balancer.applied == 2)

    asyncio.run(scenario())
    assert [len(snapshot.target_groups[0].targets) for snapshot in state.sent()] == [1, 0]


def test_it_is_restarted_when_it_dies_and_receives_everything_again(state: State) -> None:
    before = len(live.problems)

    async def scenario() -> None:
        (state.folder / "die").touch()
        async with running(state) as balancer:
            await until(lambda: balancer.applied == 2)

    asyncio.run(scenario())
    first, second = state.sent()
    assert first.target_groups == second.target_groups
    assert list(live.problems)[before:] == [
        "the load balancer process ended with status 7; it was started again"
    ]


def test_if_a_snapshot_fails_the_previous_one_stays_in_force(state: State) -> None:
    before = len(live.problems)

    async def scenario() -> None:
        async with running(state) as balancer:
            await until(lambda: balancer.applied == 1)
            state.fault = "no certificate"
            live.changed("elbv2")
            await until(lambda: len(live.problems) > before)
            live.changed("elbv2")
            await asyncio.sleep(0.05)
            state.fault, state.speed = None, 10
            live.changed("elbv2")
            await until(lambda: balancer.applied == 2)

    asyncio.run(scenario())
    assert list(live.problems)[before:] == [
        "the load balancers keep their previous configuration, because their snapshot failed: AttributeError: no certificate"
    ]
    assert [snapshot.speed for snapshot in state.sent()] == [1.0, 10.0]


def test_an_error_in_the_log_of_the_process_is_reported_once(
    state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(live.problems)

    async def scenario() -> None:
        state.attributes = {"slow_start.duration_seconds": "abc"}
        async with running(state, command=COMMAND) as balancer:
            await until(lambda: balancer.applied == 1)
            state.speed = 10
            live.changed("elbv2")
            await until(lambda: balancer.applied == 2)

    asyncio.run(scenario())
    (problem,) = list(live.problems)[before:]
    assert problem == (
        "the load balancer process: The attributes of arn:group are not in force: "
        "slow_start.duration_seconds is no number: 'abc'"
    )
    assert capsys.readouterr().err.count("slow_start.duration_seconds is no number") == 2


def test_it_ends_when_run_is_cancelled(state: State) -> None:
    async def scenario() -> None:
        async with running(state) as balancer:
            await until(lambda: balancer.applied == 1)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert others == set()

    asyncio.run(scenario())
    assert live.traffic.listening == {}

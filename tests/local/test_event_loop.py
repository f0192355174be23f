"""Background parts are started, stopped, and never fail silently."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from mclass_tf.local.aws.ecs.model.runner import runner_holder
from mclass_tf.local.aws.ecs.model.task import Launch, Task
from mclass_tf.local.aws.ecs.scheduler.scheduler import Scheduler
from mclass_tf.local.event_loop import Runtime
from mclass_tf.local.live import live


@dataclass
class Part:
    """Runs until it is cancelled, or fails on demand."""

    name: str
    ended: list[str]
    error: Exception | None = None
    running: threading.Event = field(default_factory=threading.Event)

    async def run(self) -> None:
        self.running.set()
        if self.error is not None:
            raise self.error
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append(self.name)


def test_parts_end_in_the_opposite_order_of_their_start() -> None:
    ended: list[str] = []
    parts = {name: Part(name, ended) for name in ("first", "second", "third")}
    runtime = Runtime(lambda: parts)
    runtime.start()
    assert all(part.running.wait(10) for part in parts.values())
    runtime.close()
    assert ended == ["third", "second", "first"]


def test_a_part_that_fails_is_told_and_the_others_go_on() -> None:
    ended: list[str] = []
    parts = {"bad": Part("bad", ended, error=ValueError("no")), "good": Part("good", ended)}
    runtime = Runtime(lambda: parts)
    runtime.start()
    assert parts["good"].running.wait(10)
    deadline = time.monotonic() + 10
    while not runtime.problems and time.monotonic() < deadline:
        time.sleep(0.01)
    assert runtime.problems == ["bad has failed: ValueError: no"]
    runtime.close()
    assert ended == ["good"]


def test_parts_that_cannot_be_made_are_told() -> None:
    def build() -> dict[str, Part]:
        raise RuntimeError("nothing to build with")

    runtime = Runtime(build)
    runtime.start()
    runtime.close()
    assert runtime.problems == ["the runtime has failed: RuntimeError: nothing to build with"]


class _Nobody:
    """A runner without tasks."""

    def launch(self, launch: Launch) -> Task:
        raise NotImplementedError

    def stop(self, task: Task, *, code: str, reason: str, drain: bool) -> None:
        raise NotImplementedError

    def all(self, account_id: str, region: str) -> list[Task]:
        return []


class Looks:
    """Stands for the visit of a service: records visits, waits for a number of them, and returns when the next is due."""

    def __init__(self, *, pauses: tuple[float, ...] = (), error: Exception | None = None) -> None:
        self.at: list[float] = []
        self._pauses = list(pauses)
        self._error = error
        self._more = asyncio.Event()

    def __call__(self, _service: Any) -> float | None:
        self.at.append(time.time())
        self._more.set()
        if self._error is not None:
            raise self._error
        return time.time() + self._pauses.pop(0) if self._pauses else None

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.at) < count:
                self._more.clear()
                await self._more.wait()


def _run(
    *, count: int, topic: str | None = None, pauses: tuple[float, ...] = (), error: Exception | None = None
) -> Looks:
    """Visit a service a number of times, and announce changes in between."""

    async def run() -> Looks:
        looks = Looks(pauses=pauses, error=error)
        service: Any = SimpleNamespace(arn="arn:s")
        part = Scheduler(
            exclusive=nullcontext, runner=_Nobody(), services=lambda: [service], reconcile_service=looks
        )
        task = asyncio.create_task(part.run())
        await looks.until(1)
        assert runner_holder.runner is not None
        if topic is not None:
            threading.Thread(target=live.changed, args=(topic,)).start()
        await looks.until(count)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return looks

    looks = asyncio.run(run())
    assert runner_holder.runner is None
    return looks


@pytest.mark.parametrize("topic", ["ecs", "targets", "alarms", "elbv2"])
def test_the_scheduler_reconciles_on_every_change(topic: str) -> None:
    _run(count=2, topic=topic)


def test_the_scheduler_reconciles_when_something_is_due() -> None:
    first, second = _run(count=2, pauses=(0.05,)).at
    assert 0.04 < second - first < 5


@pytest.mark.parametrize("steps", range(6))
def test_a_scheduler_cancelled_during_a_change_ends(steps: int) -> None:
    """`asyncio.wait_for` of Python 3.11 loses what is cancelled just when what it waits for is there."""

    async def run() -> None:
        looks = Looks(pauses=(60.0,) * 9)
        service: Any = SimpleNamespace(arn="arn:s")
        part = Scheduler(
            exclusive=nullcontext, runner=_Nobody(), services=lambda: [service], reconcile_service=looks
        )
        task = asyncio.create_task(part.run())
        await looks.until(1)
        live.changed("ecs")
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(run())


def test_a_service_that_cannot_be_reconciled_is_reported_once() -> None:
    _run(count=2, topic="ecs", error=ValueError("broken"))
    found = [text for text in live.problems if "arn:s" in text]
    live.problems.clear()
    assert found == ["service arn:s: ValueError: broken"]

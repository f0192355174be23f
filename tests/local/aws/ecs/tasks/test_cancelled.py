"""Tasks leave nothing running, even after failures or when the local AWS stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mclass_tf.local.aws.ecs.tasks import targets
from mclass_tf.local.containers.driver import ContainerStartError, PullError
from tests.local import task_world
from tests.local.fake_driver import FakeContainer, FakeDriver
from tests.local.task_world import World, until
from tests.local.tasks import PATIENCE


def at_work(name: str) -> list[str]:
    """Return the names of running coroutines that contain `name`."""
    found = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    return [each for each in found if name in each]


def test_a_failed_pull_cancels_the_other_pulls(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        calls = 0

        async def pull(manifest_digest: str) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise PullError("oh")
            await asyncio.Event().wait()

        world.driver.pull = pull  # type: ignore[method-assign]
        sidecar = {"name": "proxy", "image": world.applied.image, "essential": False}
        task = world.launch(world.applied.container(), sidecar)
        await world.status(task, "STOPPED")
        assert task.stopped_reason == "CannotPullContainerError: oh"
        assert at_work("_pull_one") == []

    task_world.run(tmp_path, scenario)


def test_a_container_is_stopped_even_if_its_target_cannot_be_deregistered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World) -> None:
        def fail(_task: object) -> None:
            raise ZeroDivisionError("oh")

        task, container = await world.running(world.applied.container(stopTimeout=2))
        container.ignores_sigterm = True
        with monkeypatch.context() as broken:
            broken.setattr(targets, "deregister", fail)
            world.stop(task, drain=False)
            await world.status(task, "STOPPED")
        assert container.signals == ["SIGTERM", "SIGKILL"]
        assert at_work("end_all") == []
        assert len(world.live.problems) == 1

    task_world.run(tmp_path, scenario)


def test_a_container_that_cannot_be_stopped_does_not_keep_others_running(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async def fail() -> None:
            raise ZeroDivisionError("oh")

        needed = [{"containerName": "proxy", "condition": "START"}]
        main = world.applied.container(dependsOn=needed)
        task = world.launch(
            main,
            {"name": "proxy", "image": world.applied.image, "essential": False, "stopTimeout": 2},
        )
        await world.status(task, "RUNNING")
        world.driver.named("mclass-server").terminate = fail  # type: ignore[method-assign]
        proxy = world.driver.named("proxy")
        proxy.ignores_sigterm = True
        world.stop(task)
        await world.status(task, "STOPPED")
        assert proxy.signals == ["SIGTERM", "SIGKILL"]
        assert at_work("end_all") == []
        assert len(world.live.problems) == 1

    task_world.run(tmp_path, scenario)


class Slow(FakeDriver):
    """A driver that, when closed, stops what it starts, as real drivers do."""

    def __init__(self) -> None:
        super().__init__()
        self.start_gate.clear()
        self.has_ended = False

    async def start(self, container: object) -> FakeContainer:
        await self.start_gate.wait()
        await asyncio.sleep(0.05)
        self.has_ended = True
        raise ContainerStartError("the local AWS is going down")

    async def close(self) -> None:
        self.start_gate.set()
        await super().close()


def test_a_starting_task_ends_with_the_local_aws(tmp_path: Path) -> None:
    drivers: list[Slow] = []

    def make() -> Slow:
        drivers.append(Slow())
        return drivers[-1]

    async def scenario(world: World) -> None:
        task = world.launch()
        await until(lambda: task.containers[0].runtime_id != "")
        ending = next(each for each in asyncio.all_tasks() if "TaskManager.run" in str(each.get_coro()))
        ending.cancel()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([ending])
        assert drivers[0].has_ended
        assert at_work("TaskLifecycle") == at_work("_start_container") == at_work("_run_to_end") == []

    task_world.run(tmp_path, scenario, make_driver=make)

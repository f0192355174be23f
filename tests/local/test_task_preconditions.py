"""What a task needs before it starts: each wire is taken away in turn, and the task says so in ECS's words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mclass_tf.local.aws.ecs.task import Launch, Task
from tests.local import in_process, task_world
from tests.local.in_process import REGION
from tests.local.task_world import LOG_GROUP, REPOSITORY, Applied, World

Change = Callable[[Applied], object]


def stopped(folder: Path, applied: Applied, launch: Callable[[World], Task] = World.launch) -> Task:
    """The task, when it has failed to start."""
    found: list[Task] = []

    async def scenario(world: World) -> None:
        task = launch(world)
        found.append(task)
        await world.status(task, "STOPPED")
        assert world.driver.started == []

    task_world.run(folder, scenario, applied=applied)
    assert found[0].stop_code == "TaskFailedToStart"
    return found[0]


def starts(folder: Path, applied: Applied, launch: Callable[[World], Task] = World.launch) -> None:
    async def scenario(world: World) -> None:
        await world.status(launch(world), "RUNNING")

    task_world.run(folder, scenario, applied=applied)


@pytest.mark.parametrize("egress", ["nat", "endpoints"])
def test_both_ways_out_of_the_modules_will_do(egress: str, tmp_path: Path) -> None:
    starts(tmp_path, task_world.apply(egress=egress))

"""RunTask: tasks that belong to no service."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.local.aws.ecs.runner import place
from mclass_tf.local.aws.ecs.task import Task
from tests.local import task_world
from tests.local.in_process import REGION
from tests.local.task_world import World

_CLUSTER = "mclass-cluster"


class Ecs:
    """The caller's view of a world: the calls, answered by the tasks of that world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.client = world.applied.client("ecs")
        self.client.create_cluster(clusterName=_CLUSTER, capacityProviders=["FARGATE", "FARGATE_SPOT"])
        self.register()

    def register(self, *containers: dict[str, Any], **changes: Any) -> str:
        """Register a task definition like the modules'; return its ARN."""
        applied = self._world.applied
        request = {
            "family": "mclass-task",
            "cpu": "256",
            "memory": "512",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "executionRoleArn": applied.role_arn,
            "containerDefinitions": list(containers) or [applied.container()],
            **changes,
        }
        return str(self.client.register_task_definition(**request)["taskDefinition"]["taskDefinitionArn"])

    def request(self, **changes: Any) -> dict[str, Any]:
        """The request that every test begins with; what is None is left out."""
        applied = self._world.applied
        request = {
            "cluster": _CLUSTER,
            "taskDefinition": "mclass-task",
            "launchType": "FARGATE",
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": list(applied.subnet_ids),
                    "securityGroups": [applied.group_id],
                    "assignPublicIp": "DISABLED",
                }
            },
            **changes,
        }
        return {name: value for name, value in request.items() if value is not None}

    def run(self, **changes: Any) -> dict[str, Any]:
        """Run tasks; return the first as the answer has it."""
        found: dict[str, Any] = self.client.run_task(**self.request(**changes))["tasks"][0]
        return found

    def task(self, described: dict[str, Any]) -> Task:
        """The local AWS's own view of a task."""
        account = self._world.applied.account_id
        found = self._world.tasks.all(account, REGION)
        return next(task for task in found if task.arn == described["taskArn"])

    def described(self, described: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.client.describe_tasks(
            cluster=_CLUSTER, tasks=[described["taskArn"]], include=["TAGS"]
        )["tasks"][0]
        return found


@pytest.fixture
def play(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[World, Ecs], Coroutine[Any, Any, None]]], None]:
    """Play a scenario in a world whose tasks the calls of ECS start and stop."""

    def run(scenario: Callable[[World, Ecs], Coroutine[Any, Any, None]]) -> None:
        async def with_calls(world: World) -> None:
            monkeypatch.setattr(place, "runner", world.tasks)
            await scenario(world, Ecs(world))

        task_world.run(tmp_path, with_calls)

    return run


_Play = Callable[[Callable[[World, Ecs], Coroutine[Any, Any, None]]], None]


def test_a_task_runs_and_ends_with_its_exit_code(play: _Play) -> None:
    async def scenario(world: World, ecs: Ecs) -> None:
        answer = ecs.run()
        assert (answer["lastStatus"], answer["desiredStatus"]) == ("PROVISIONING", "RUNNING")
        assert answer["group"] == "family:mclass-task"
        assert "startedBy" not in answer
        task = ecs.task(answer)
        await world.status(task, "RUNNING")
        world.driver.started[0].say("hello")
        world.driver.started[0].exit(3)
        await world.status(task, "STOPPED")
        found = ecs.described(answer)
        assert found["stopCode"] == "EssentialContainerExited"
        assert found["stoppedReason"] == "Essential container in task exited"
        assert found["containers"][0]["exitCode"] == 3
        assert world.log(task) == ["hello"]
        assert world.targets() == []

    play(scenario)

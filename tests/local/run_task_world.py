"""RunTask through its API, in the process of the tests."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf.local.aws.ecs.model.runner import runner_holder
from mclass_tf.local.aws.ecs.model.task import Task
from tests.local import task_world
from tests.local.in_process import REGION
from tests.local.task_world import Applied, World, until

CLUSTER = "mclass-cluster"


class Ecs:
    """The API of ECS on the tasks of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = world.applied.client("ecs")
        self.client.create_cluster(clusterName=CLUSTER, capacityProviders=["FARGATE", "FARGATE_SPOT"])
        self.register()

    @property
    def applied(self) -> Applied:
        return self.world.applied

    def register(self, *containers: dict[str, Any], **changes: Any) -> str:
        """Register a task definition like that of the modules. Return its ARN."""
        request = {
            "family": "mclass-task",
            "cpu": "256",
            "memory": "512",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "executionRoleArn": self.applied.role_arn,
            "containerDefinitions": list(containers) or [self.applied.container()],
            **changes,
        }
        return str(self.client.register_task_definition(**request)["taskDefinition"]["taskDefinitionArn"])

    def run_all(self, **changes: Any) -> list[dict[str, Any]]:
        """Run tasks and return their descriptions. Parameters that are None are omitted."""
        request = {
            "cluster": CLUSTER,
            "taskDefinition": "mclass-task",
            "launchType": "FARGATE",
            "networkConfiguration": self.applied.network,
            **changes,
        }
        answer = self.client.run_task(**{name: value for name, value in request.items() if value is not None})
        assert answer["failures"] == []
        found: list[dict[str, Any]] = answer["tasks"]
        return found

    def run(self, **changes: Any) -> dict[str, Any]:
        """Run one task."""
        (found,) = self.run_all(**changes)
        return found

    def override(self, **changes: Any) -> dict[str, Any]:
        """The overrides of the one container."""
        return {"containerOverrides": [{"name": "mclass-server", **changes}]}

    def task(self, described: dict[str, Any]) -> Task:
        """Return the internal state of a task."""
        known = self.world.tasks.all(self.applied.account_id, REGION)
        return next(task for task in known if task.arn == described["taskArn"])

    def described(self, described: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.client.describe_tasks(
            cluster=CLUSTER, tasks=[described["taskArn"]], include=["TAGS"]
        )["tasks"][0]
        return found

    def listed(self, **filters: Any) -> set[str]:
        pages = self.client.get_paginator("list_tasks").paginate(cluster=CLUSTER, **filters)
        return {arn for page in pages for arn in page["taskArns"]}

    def refused(self, **changes: Any) -> tuple[str, str]:
        """Return the code and the message of the error."""
        with pytest.raises(ClientError) as error:
            self.run_all(**changes)
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        found = error.value.response["Error"]
        return found["Code"], found["Message"]

    async def ended(self, described: dict[str, Any]) -> dict[str, Any]:
        """Wait until the task is STOPPED; return its description."""
        task = self.task(described)
        await until(lambda: task.is_stopped, lambda: f"{task.last_status}: {task.stopped_reason}")
        return self.described(described)


Scenario = Callable[[Ecs], Coroutine[Any, Any, None]]
Play = Callable[[Scenario], None]


def player(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Play:
    """Return a function that runs a scenario with the API of ECS. `settings` are those of `task_world.run`."""

    def play(scenario: Scenario) -> None:
        async def with_calls(world: World) -> None:
            monkeypatch.setattr(runner_holder, "runner", world.tasks)
            await scenario(Ecs(world))

        task_world.run(folder, with_calls, **settings)

    return play

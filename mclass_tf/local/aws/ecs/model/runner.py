"""The runner of tasks. API calls look it up here, since moto gives no way to pass it to them."""

from __future__ import annotations

from typing import Protocol

from mclass_tf.local.aws.ecs.model.task import Launch, Task


class TaskRunner(Protocol):
    """Starts and stops tasks. Call every method under the lock of the API calls."""

    def launch(self, launch: Launch) -> Task: ...

    def stop(self, task: Task, *, code: str, reason: str, drain: bool) -> None: ...

    def all(self, account_id: str, region: str) -> list[Task]: ...


class RunnerHolder:
    """Holds the current runner; None if the API is used without the server."""

    def __init__(self) -> None:
        self.runner: TaskRunner | None = None

    def all(self, account_id: str, region: str) -> list[Task]:
        return [] if self.runner is None else self.runner.all(account_id, region)


runner_holder = RunnerHolder()

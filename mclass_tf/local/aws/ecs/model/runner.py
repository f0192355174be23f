"""Who starts and stops tasks: the calls of AWS look it up here, since nothing can be passed to them."""

from __future__ import annotations

from typing import Protocol

from mclass_tf.local.aws.ecs.model.task import Launch, Task


class TaskRunner(Protocol):
    """Every method is called under the lock of the calls."""

    def launch(self, launch: Launch) -> Task: ...

    def stop(self, task: Task, *, code: str, reason: str, drain: bool) -> None: ...

    def all(self, account_id: str, region: str) -> list[Task]: ...


class RunnerHolder:
    """Holds the runner while there is one: none runs where the calls are used without the server."""

    def __init__(self) -> None:
        self.runner: TaskRunner | None = None

    def all(self, account_id: str, region: str) -> list[Task]:
        return [] if self.runner is None else self.runner.all(account_id, region)


runner_holder = RunnerHolder()

"""Interrupts tasks on Fargate Spot: AWS does so when it reclaims capacity, the local AWS on request.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/spot-interruption-errors.html
"""

from __future__ import annotations

from mclass_tf.local.aws.ecs.model.runner import runner_holder
from mclass_tf.local.aws.ecs.model.task import Task

_SPOT = "FARGATE_SPOT"


def interrupt(*, account_id: str, region: str, task: str) -> Task:
    """Interrupt the task with this id or ARN. Raise ValueError if that is impossible. Call it under the lock."""
    task_id = task.rsplit("/", maxsplit=1)[-1]
    tasks = runner_holder.all(account_id, region)
    interrupted = next((entry for entry in tasks if entry.id == task_id), None)
    if interrupted is None or runner_holder.runner is None or interrupted.is_stopped:
        raise ValueError(f"no task {task_id} runs in account {account_id}, {region}")
    if interrupted.capacity_provider != _SPOT:
        provider = interrupted.capacity_provider or "FARGATE"
        raise ValueError(f"task {task_id} runs on {provider}, which is never interrupted: only {_SPOT} is")
    reason = "Your Spot Task was interrupted."
    runner_holder.runner.stop(interrupted, code="SpotInterruption", reason=reason, drain=False)
    return interrupted

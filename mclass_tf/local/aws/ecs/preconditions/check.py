"""All preconditions, in the order in which Fargate meets them."""

from __future__ import annotations

from mclass_tf.local.aws.ecs.task import Task


def unmet(_task: Task) -> str | None:
    """Return why the task cannot start, in ECS's words, or None. It reads moto's state: call it under the lock."""
    return None

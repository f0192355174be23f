"""What must be there before a task can start, evaluated from what was applied."""

from __future__ import annotations

from mclass_tf.local.aws.ecs.preconditions.check import unmet

__all__ = ["unmet"]

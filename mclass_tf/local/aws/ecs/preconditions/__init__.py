"""What must be there before a task can start, evaluated from what was applied."""

from __future__ import annotations

from mclass_tf.local.aws.ecs.preconditions.check import unmet, unmet_by_layers, unmet_by_pull
from mclass_tf.local.aws.ecs.preconditions.logs import may_put_events

__all__ = ["may_put_events", "unmet", "unmet_by_layers", "unmet_by_pull"]

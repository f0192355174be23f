"""The preconditions for the start of a task, evaluated on the applied resources."""

from __future__ import annotations

from mclass_tf.local.aws.ecs.preconditions.check import layers_error, pull_error, startup_error
from mclass_tf.local.aws.ecs.preconditions.logs import may_put_events

__all__ = ["layers_error", "may_put_events", "pull_error", "startup_error"]

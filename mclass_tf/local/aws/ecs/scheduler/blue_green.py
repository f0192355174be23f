"""The strategies that shift traffic: green starts beside blue, which keeps its full size until it has no traffic.

BLUE_GREEN, CANARY and LINEAR differ only in how they shift traffic (`stages`).
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-blue-green.html
"""

from __future__ import annotations

from mclass_tf.local.aws.ecs.scheduler import rolling
from mclass_tf.local.aws.ecs.scheduler.view import (
    ScalingDecision,
    ServiceView,
    StopCause,
    TaskCondition,
    TaskStop,
)


def decide(view: ServiceView) -> ScalingDecision:
    """Keep green and blue at their desired sizes. Stop the tasks of other deployments once `may_stop_others`."""
    green = rolling.decide(view)
    blue = rolling.decide(view.blue) if view.blue is not None else ScalingDecision()
    return ScalingDecision(
        stops=(*green.stops, *blue.stops, *_stops_of_others(view)),
        start=green.start,
        replacing=green.replacing,
        blue_start=blue.start,
        blue_replacing=blue.replacing,
    )


def _stops_of_others(view: ServiceView) -> tuple[TaskStop, ...]:
    if not view.may_stop_others:
        return ()
    return tuple(
        TaskStop(task_id=task.id, cause=StopCause.SCALING)
        for task in view.others
        if task.condition is not TaskCondition.DRAINING
    )

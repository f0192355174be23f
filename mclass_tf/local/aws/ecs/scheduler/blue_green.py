"""The strategies that shift traffic: the new revision comes up beside the old one, which stays at full size until traffic is off it.

BLUE_GREEN, CANARY and LINEAR differ in how traffic is shifted (`stages`), not in the tasks.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-blue-green.html
"""

from __future__ import annotations

from mclass_tf.local.aws.ecs.scheduler.rolling import ROLLING
from mclass_tf.local.aws.ecs.scheduler.view import Cause, Condition, Decision, ServiceView, Stop


class BlueGreen:
    """Each of the two revisions has its own tasks kept at its size; what belongs to neither is stopped when it may be."""

    def decide(self, view: ServiceView) -> Decision:
        green = ROLLING.decide(view)
        blue = ROLLING.decide(view.blue) if view.blue is not None else Decision()
        return Decision(
            stops=(*green.stops, *blue.stops, *_stops_of_others(view)),
            start=green.start,
            replacing=green.replacing,
            blue_start=blue.start,
            blue_replacing=blue.replacing,
        )


BLUE_GREEN = BlueGreen()


def _stops_of_others(view: ServiceView) -> tuple[Stop, ...]:
    if not view.may_stop_others:
        return ()
    return tuple(
        Stop(task_id=task.id, cause=Cause.SCALING)
        for task in view.others
        if task.condition is not Condition.DRAINING
    )

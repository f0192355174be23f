"""A rollout: one service deployment, started, watched to its end, and explained if it failed."""

from mclass_tf.rollout.cause import Cause, explain, explain_task
from mclass_tf.rollout.client import Client, Patience
from mclass_tf.rollout.follow import Choice, follow
from mclass_tf.rollout.serving import require_alone
from mclass_tf.rollout.start import BeforeUpdate, Order, Started, ongoing, start
from mclass_tf.rollout.view import Tasks, View, tasks_of
from mclass_tf.rollout.watch import End, Outcome, Watch

__all__ = [
    "BeforeUpdate",
    "Cause",
    "Choice",
    "Client",
    "End",
    "Order",
    "Outcome",
    "Patience",
    "Started",
    "Tasks",
    "View",
    "Watch",
    "explain",
    "explain_task",
    "follow",
    "ongoing",
    "require_alone",
    "start",
    "tasks_of",
]

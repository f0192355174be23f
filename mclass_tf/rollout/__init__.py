"""A rollout: one service deployment, started, watched to its end, and explained if it failed."""

from mclass_tf.rollout.cause import FailureCause, explain, explain_task
from mclass_tf.rollout.client import EcsClient, Patience
from mclass_tf.rollout.follow import InterruptChoice, follow
from mclass_tf.rollout.serving import require_sole_revision
from mclass_tf.rollout.start import BeforeUpdate, ServiceUpdate, StartedRollout, ongoing, start
from mclass_tf.rollout.view import DeploymentTasks, RolloutView, tasks_of
from mclass_tf.rollout.watch import RolloutEnd, RolloutOutcome, RolloutWatch

__all__ = [
    "BeforeUpdate",
    "DeploymentTasks",
    "EcsClient",
    "FailureCause",
    "InterruptChoice",
    "Patience",
    "RolloutEnd",
    "RolloutOutcome",
    "RolloutView",
    "RolloutWatch",
    "ServiceUpdate",
    "StartedRollout",
    "explain",
    "explain_task",
    "follow",
    "ongoing",
    "require_sole_revision",
    "start",
    "tasks_of",
]

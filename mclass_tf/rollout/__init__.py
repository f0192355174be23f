"""A rollout: one service deployment, started, watched to its end, and explained if it failed."""

from mclass_tf.rollout.cadence import LOCAL, ON_AWS, Cadence
from mclass_tf.rollout.cause import FailureCause, explain, explain_task
from mclass_tf.rollout.client import EcsClient, Patience
from mclass_tf.rollout.follow import Choice, follow
from mclass_tf.rollout.serving import ExpectedRevision, require_sole_revision
from mclass_tf.rollout.start import BeforeUpdate, ServiceUpdate, StartedRollout, await_service, ongoing, start
from mclass_tf.rollout.view import DeploymentTasks, View, tasks_of
from mclass_tf.rollout.watch import RolloutEnd, RolloutOutcome, Watch

__all__ = [
    "LOCAL",
    "ON_AWS",
    "BeforeUpdate",
    "Cadence",
    "Choice",
    "DeploymentTasks",
    "EcsClient",
    "ExpectedRevision",
    "FailureCause",
    "Patience",
    "RolloutEnd",
    "RolloutOutcome",
    "ServiceUpdate",
    "StartedRollout",
    "View",
    "Watch",
    "await_service",
    "explain",
    "explain_task",
    "follow",
    "ongoing",
    "require_sole_revision",
    "start",
    "tasks_of",
]

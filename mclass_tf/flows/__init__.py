"""The commands: each a short list of steps that pass frozen values on."""

from mclass_tf.flows.answer import Continued, abort, continue_rollout, drop_stale_pauses
from mclass_tf.flows.deployer.deploy import OnInterrupt, Show
from mclass_tf.flows.deployer.messages import paused
from mclass_tf.flows.deployer.settling import verify_environment
from mclass_tf.flows.differences import Difference
from mclass_tf.flows.environments import (
    Applied,
    Confirm,
    Planned,
    applied_state,
    apply,
    bootstrap,
    destroy,
    discard_plan,
    export_plan,
    fetcher,
    has_saved_plan,
    init,
    make_plan,
    outdated,
    unlock,
)
from mclass_tf.flows.history import UNDER_WAY, PastAttempt, history
from mclass_tf.flows.image_in_force import ImageInForce, image_in_force
from mclass_tf.flows.images import BuildRequest, build_image, push_image
from mclass_tf.flows.inspect import ServiceStatus, render, status
from mclass_tf.flows.one_off.run import RunResult, run_command
from mclass_tf.flows.promote import Promoted, PromotionDisplay, promote
from mclass_tf.flows.release import Released, detach_on_interrupt, release
from mclass_tf.flows.resume import resume
from mclass_tf.flows.rollback import rollback
from mclass_tf.rollout import Choice

__all__ = [
    "UNDER_WAY",
    "Applied",
    "BuildRequest",
    "Choice",
    "Confirm",
    "Continued",
    "Difference",
    "ImageInForce",
    "OnInterrupt",
    "PastAttempt",
    "Planned",
    "Promoted",
    "PromotionDisplay",
    "Released",
    "RunResult",
    "ServiceStatus",
    "Show",
    "abort",
    "applied_state",
    "apply",
    "bootstrap",
    "build_image",
    "continue_rollout",
    "destroy",
    "detach_on_interrupt",
    "discard_plan",
    "drop_stale_pauses",
    "export_plan",
    "fetcher",
    "has_saved_plan",
    "history",
    "image_in_force",
    "init",
    "make_plan",
    "outdated",
    "paused",
    "promote",
    "push_image",
    "release",
    "render",
    "resume",
    "rollback",
    "run_command",
    "status",
    "unlock",
    "verify_environment",
]

"""Integration tests of an applied environment: they compare AWS, or the local AWS, with the outputs."""

from mclass_tf.verify.check import Check
from mclass_tf.verify.outputs import Outputs
from mclass_tf.verify.report import CheckStatus, VerifyReport, VerifyResult, render
from mclass_tf.verify.runner import checks, judge, open_world, run
from mclass_tf.verify.task_definition import PLACEHOLDER
from mclass_tf.verify.world import FetchStatus, World

__all__ = [
    "PLACEHOLDER",
    "Check",
    "CheckStatus",
    "FetchStatus",
    "Outputs",
    "VerifyReport",
    "VerifyResult",
    "World",
    "checks",
    "judge",
    "open_world",
    "render",
    "run",
]

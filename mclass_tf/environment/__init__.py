"""An environment: the files of `environments/<name>/`, parsed and checked once."""

from mclass_tf.environment.inputs import OWNED_BY_SETTINGS
from mclass_tf.environment.loading import load, names
from mclass_tf.environment.model import (
    BACKEND,
    SETTINGS,
    SEVERITIES,
    VARIABLES,
    Backend,
    Environment,
    PromotionSettings,
    ReleaseSettings,
)
from mclass_tf.environment.values import Evaluate, Values

__all__ = [
    "BACKEND",
    "OWNED_BY_SETTINGS",
    "SETTINGS",
    "SEVERITIES",
    "VARIABLES",
    "Backend",
    "Environment",
    "Evaluate",
    "PromotionSettings",
    "ReleaseSettings",
    "Values",
    "load",
    "names",
]

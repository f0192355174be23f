"""Access to AWS: credentials of the right account, typed clients, and AWS's errors.

This is the only package that imports boto3. It imports late, since the import takes a quarter of a second.
"""

from mclass_tf.aws.access import Access, RoleCredentials, partition
from mclass_tf.aws.calls import Calls, Observe, ecs_items
from mclass_tf.aws.clients import Aws
from mclass_tf.aws.connect import connect
from mclass_tf.aws.refusals import (
    SIGN_IN,
    error_code,
    error_message,
    has_lapsed,
    is_transient,
    may_be_new_role,
    needs_sign_in,
    refusal,
)

__all__ = [
    "SIGN_IN",
    "Access",
    "Aws",
    "Calls",
    "Observe",
    "RoleCredentials",
    "connect",
    "ecs_items",
    "error_code",
    "error_message",
    "has_lapsed",
    "is_transient",
    "may_be_new_role",
    "needs_sign_in",
    "partition",
    "refusal",
]

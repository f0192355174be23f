"""Credentials that last as long as a command: the name of who acts, sessions of a role, and their way to child processes."""

from mclass_tf.credentials.endpoint import Endpoint
from mclass_tf.credentials.names import actor, job
from mclass_tf.credentials.role import RoleSession

__all__ = ["Endpoint", "RoleSession", "actor", "job"]

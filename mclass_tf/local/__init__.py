"""The local AWS: one process on loopback that any AWS client can use as if it were AWS.

`up`, `down`, `save`, `status`, `client_address` and `problems` are the whole interface. Nothing here imports the rest of the package. Only the server
process imports the heavy dependencies.
"""

from mclass_tf.local.control import client_address, down, problems, save, status, up
from mclass_tf.local.errors import (
    LocalAwsError,
    MissingDependencyError,
    PortInUseError,
    SnapshotError,
    StartError,
    StopError,
)
from mclass_tf.local.record import LocalAws

__all__ = [
    "LocalAws",
    "LocalAwsError",
    "MissingDependencyError",
    "PortInUseError",
    "SnapshotError",
    "StartError",
    "StopError",
    "client_address",
    "down",
    "problems",
    "save",
    "status",
    "up",
]

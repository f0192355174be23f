"""Parts of stopped reasons: the wording of ECS, followed by the cause that the local AWS has found.

The reasons of ECS end with the error of the AWS SDK: they say that the connection failed, but not what blocks it.
"""

from __future__ import annotations

import uuid

from mclass_tf.local.aws.ecs.preconditions.network import Blockage

INIT_ERROR = "ResourceInitializationError: unable to pull secrets or registry auth: "
LOGGER_ERROR = "ResourceInitializationError: failed to validate logger args: "


def timeout(operation: str, *, host: str, blocked: Blockage) -> str:
    """Return the error of the AWS SDK for a connection that timed out."""
    return (
        f"operation error {operation}, exceeded maximum number of attempts, 3, https response error StatusCode: 0, "
        f'RequestID: , request send failed, Post "https://{host}/": dial tcp {blocked.address}:443: i/o timeout'
        f"{local_cause(blocked.cause)}"
    )


def api_error(operation: str, error: str) -> str:
    """Return the error of the AWS SDK for an error response."""
    return f"operation error {operation}, https response error StatusCode: 400, RequestID: {uuid.uuid4()}, api error {error}"


def local_cause(cause: str) -> str:
    """Return the cause in brackets, which ECS itself would not name."""
    return f" [local AWS: {cause}]"

"""What the reasons have in common: ECS's words, and behind them what the local AWS knows of the cause.

ECS's own reasons end with the error of the AWS SDK; they say that there is no connection, not what is in its way.
"""

from __future__ import annotations

import uuid

from mclass_tf.local.aws.ecs.preconditions.network import BlockedConnection

RESOURCE_INITIALIZATION = "ResourceInitializationError: unable to pull secrets or registry auth: "
LOGGER_ARGUMENTS = "ResourceInitializationError: failed to validate logger args: "


def connection_timeout(operation: str, *, host: str, blocked: BlockedConnection) -> str:
    """The SDK's words for a call that reached nobody."""
    return (
        f"operation error {operation}, exceeded maximum number of attempts, 3, https response error StatusCode: 0, "
        f'RequestID: , request send failed, Post "https://{host}/": dial tcp {blocked.address}:443: i/o timeout'
        f"{local_cause(blocked.cause)}"
    )


def api_error(operation: str, error: str) -> str:
    """The SDK's words for a call that was answered with an error."""
    return f"operation error {operation}, https response error StatusCode: 400, RequestID: {uuid.uuid4()}, api error {error}"


def local_cause(cause: str) -> str:
    """What the local AWS knows and ECS would not tell."""
    return f" [local AWS: {cause}]"

"""The environment variables of a container: of the task definition, its secrets, and ECS's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mclass_tf.local.aws.ecs.model import secrets
from mclass_tf.local.aws.ecs.model.task import Launch


def container_variables(
    definition: Mapping[str, Any],
    *,
    launch: Launch,
    override: Mapping[str, Any],
    metadata_url: str,
    endpoint_url: str,
    credentials_url: str | None,
) -> dict[str, str]:
    """Return the variables. The definition overrides added variables, except the address of the metadata.

    Raise secrets.NoSecretError. This reads moto's state: call it under the lock.
    """
    return {
        "AWS_DEFAULT_REGION": launch.region,
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "AWS_REGION": launch.region,
        **_local_aws_variables(endpoint_url=endpoint_url, credentials_url=credentials_url),
        # Terraform sends a null as a name without a value, which the API allows.
        **{entry["name"]: str(entry.get("value") or "") for entry in definition.get("environment") or []},
        **{entry["name"]: str(entry.get("value") or "") for entry in override.get("environment") or []},
        **{
            entry["name"]: secrets.read(
                secrets.parse(entry["valueFrom"], account_id=launch.account_id, region=launch.region)
            )
            for entry in definition.get("secrets") or []
        },
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html
        "ECS_CONTAINER_METADATA_URI_V4": metadata_url,
    }


def _local_aws_variables(*, endpoint_url: str, credentials_url: str | None) -> dict[str, str]:
    """AWS passes a relative URI of a link-local host for the credentials. SDKs also accept a full URI on loopback.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
    """
    local = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": endpoint_url}
    return {**local, "AWS_CONTAINER_CREDENTIALS_FULL_URI": credentials_url} if credentials_url else local

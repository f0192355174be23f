"""S3: bucket policies whose statements have conditions, or speak of an AWS service."""

from __future__ import annotations

import json
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3 import models


class Bucket(models.FakeBucket):  # type: ignore[misc]  # moto is not typed for us
    def get_permission(self, action: str, resource: str) -> Any:
        """Evaluate the statements that concern the caller; to moto a Deny whose condition fails is a Deny all the same.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
        """
        if self.policy is None:
            return PermissionResult.NEUTRAL
        document = json.loads(self.policy)
        document["Statement"] = [
            statement for statement in document["Statement"] if _concerns_caller(statement)
        ]
        return IAMPolicy(json.dumps(document)).is_action_permitted(action, resource)


def _concerns_caller(statement: dict[str, Any]) -> bool:
    """Tell whether a client that came over TLS is meant. Loopback stands for TLS: AWS is reached by nothing else."""
    wants_tls = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
    principal = statement.get("Principal")
    of_a_service = isinstance(principal, dict) and set(principal) == {"Service"}
    return str(wants_tls).lower() != "false" and not of_a_service


def install() -> None:
    models.FakeBucket = Bucket

"""S3: buckets and their policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3 import models, urls
from moto.s3.responses import S3Response

from mclass_tf.local.aws import policies
from mclass_tf.local.aws.extend import use_responses

_PAYER = (
    '<RequestPaymentConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Payer>BucketOwner</Payer>'
    "</RequestPaymentConfiguration>"
)


class Bucket(models.FakeBucket):  # type: ignore[misc]  # moto is not typed for us
    def get_permission(self, action: str, resource: str) -> Any:
        """Evaluate only the statements that apply to the caller. moto applies a Deny even if its condition fails.

        The state bucket's policy may require TLS.
        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
        """
        if self.policy is None:
            return PermissionResult.NEUTRAL
        statements = [entry for entry in policies.statements(self.policy) if _applies_to_caller(entry)]
        document = {"Version": "2012-10-17", "Statement": statements}
        return IAMPolicy(json.dumps(document)).is_action_permitted(action, resource)


class LocalS3Responses(S3Response):  # type: ignore[misc]
    def _bucket_response_get(self, bucket_name: str, querystring: dict[str, Any]) -> Any:
        """Answer `?requestPayment`, which the provider reads for every bucket. moto answers with a list of objects.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketRequestPayment.html
        """
        if "requestPayment" in querystring:
            self.backend.get_bucket(bucket_name)
            return 200, {"Content-Type": "application/xml"}, _PAYER
        return super()._bucket_response_get(bucket_name, querystring)


def _applies_to_caller(statement: Mapping[str, Any]) -> bool:
    """Return whether the statement applies to a client that uses TLS. Loopback counts as TLS, since clients of AWS use TLS."""
    condition = statement.get("Condition")
    booleans = condition.get("Bool") if isinstance(condition, dict) else None
    secure_transport = booleans.get("aws:SecureTransport") if isinstance(booleans, dict) else None
    principal = statement.get("Principal")
    is_for_service = isinstance(principal, dict) and set(principal) == {"Service"}
    return str(secure_transport).lower() != "false" and not is_for_service


def install() -> None:
    models.FakeBucket = Bucket
    use_responses(urls=urls, responses=LocalS3Responses)
    models.S3Backend._url_module = urls  # noqa: SLF001  otherwise moto imports the module again, without this class

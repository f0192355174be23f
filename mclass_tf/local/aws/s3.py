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
        """Evaluate the statements that concern the caller: the bucket of the state may demand TLS.

        To moto a Deny whose condition fails is a Deny all the same.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
        """
        if self.policy is None:
            return PermissionResult.NEUTRAL
        statements = [one for one in policies.statements(self.policy) if _concerns_caller(one)]
        document = {"Version": "2012-10-17", "Statement": statements}
        return IAMPolicy(json.dumps(document)).is_action_permitted(action, resource)


class LocalS3Responses(S3Response):  # type: ignore[misc]
    def _bucket_response_get(self, bucket_name: str, querystring: dict[str, Any]) -> Any:
        """The owner pays, as the provider asks of every bucket; moto answers with a list of the objects.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketRequestPayment.html
        """
        if "requestPayment" in querystring:
            self.backend.get_bucket(bucket_name)
            return 200, {"Content-Type": "application/xml"}, _PAYER
        return super()._bucket_response_get(bucket_name, querystring)


def _concerns_caller(statement: Mapping[str, Any]) -> bool:
    """Return whether a client that came over TLS is meant. Loopback stands for TLS: AWS is reached by nothing else."""
    condition = statement.get("Condition")
    of_booleans = condition.get("Bool") if isinstance(condition, dict) else None
    wants_tls = of_booleans.get("aws:SecureTransport") if isinstance(of_booleans, dict) else None
    principal = statement.get("Principal")
    of_a_service = isinstance(principal, dict) and set(principal) == {"Service"}
    return str(wants_tls).lower() != "false" and not of_a_service


def install() -> None:
    models.FakeBucket = Bucket
    use_responses(urls=urls, responses=LocalS3Responses)
    models.S3Backend._url_module = urls  # noqa: SLF001  else moto reads the module anew, without our class

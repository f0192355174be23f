"""S3: buckets and their policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
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
_MOVED = (
    "<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be addressed using the specified "
    "endpoint. Please send all future requests to this endpoint.</Message></Error>"
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
    def bucket_response(self, request: Any, full_url: str, headers: Any) -> Any:
        return self._redirection(request, full_url) or super().bucket_response(request, full_url, headers)

    def key_response(self, request: Any, full_url: str, headers: dict[str, Any]) -> Any:
        return self._redirection(request, full_url) or super().key_response(request, full_url, headers)

    def _redirection(self, request: Any, full_url: str) -> Any:
        """Redirect a call to the region of the bucket, None if it is there. Here, the region is the one of the signature.

        A region of AWS answers for its own buckets only. SDKs follow a redirection, but at the price of a call.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/Redirects.html
        """
        # `setup_class` reads the file of a form and closes it, so it must not run twice for a presigned POST.
        if "Authorization" not in request.headers or request.mimetype == "multipart/form-data":
            return None
        self.setup_class(request)
        bucket = self.backend.buckets.get(self.parse_bucket_name_from_url(request, full_url))
        asks_where = request.method == "GET" and "location" in self._get_querystring(request, full_url)
        creates = request.method == "PUT" and not request.query_string and request.path.count("/") == 1
        if bucket is None or asks_where or creates or bucket.region_name == self.region:
            return None
        headers = {"Content-Type": "application/xml", "x-amz-bucket-region": bucket.region_name}
        return HTTPStatus.MOVED_PERMANENTLY, headers, "" if request.method == "HEAD" else _MOVED

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

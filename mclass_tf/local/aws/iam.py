"""IAM: roles and policies, including AWS managed policies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.iam import urls
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.exceptions import DeleteConflictException, ValidationError
from moto.iam.models import AWSManagedPolicy, IAMBackend, iam_backends
from moto.iam.policy_validation import (
    BaseIAMPolicyValidator,
    IAMPolicyDocumentValidator,
    IAMTrustPolicyDocumentValidator,
)
from moto.iam.responses import IamResponse

from mclass_tf.local.aws import pages
from mclass_tf.local.aws.extend import use_backend, use_responses
from mclass_tf.local.aws.in_use import certificate_users
from mclass_tf.local.aws.replacement import replace

_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_AWS_POLICY = ":iam::aws:policy/"
_MANAGED_VERSION = "2012-10-17"


def _accept_any_version(validate: Callable[[Any], None]) -> Callable[[Any], None]:  # noqa: ARG001
    def _validate_version(self: Any) -> None:
        """Accept 2008-10-17, and a policy without a version, which means the same: moto checks before that no other is named.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_version.html
        The trust policy of the console's own ecsTaskExecutionRole has 2008-10-17.
        """

    return _validate_version


class _ManagedPolicyValidator(IAMPolicyDocumentValidator):  # type: ignore[misc]  # moto is not typed for us
    """Managed policies alone must have version 2012-10-17.

    https://github.com/wercker/step-s3sync/pull/25
    https://github.com/Bayer-Group/cloudformation-template-generator/pull/90
    """

    def _validate_version(self) -> None:
        if self._policy_json.get("Version") != _MANAGED_VERSION:
            raise ValueError


class LocalIamBackend(IAMBackend):  # type: ignore[misc]  # moto is not typed for us
    """AWS managed policies exist in every account, and modules/ecs-service attaches one to the infrastructure role.

    moto can only load all 1,400 of them at once.

    https://docs.aws.amazon.com/aws-managed-policy/latest/reference/about-managed-policy-reference.html
    """

    def create_role(self, role_name: str, assume_role_policy_document: str, *rest: Any, **named: Any) -> Any:
        """Validate the name and the trust policy. moto accepts any text for both.

        https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
        """
        if not _ROLE_NAME.fullmatch(role_name):
            raise ValidationError(
                f"Value '{role_name}' at 'roleName' failed to satisfy constraint: at most 64 of [\\w+=,.@-]"
            )
        IAMTrustPolicyDocumentValidator(assume_role_policy_document).validate()
        return super().create_role(role_name, assume_role_policy_document, *rest, **named)

    def create_policy(
        self, description: str, path: str, policy_document: str, policy_name: str, tags: list[dict[str, str]]
    ) -> Any:
        _ManagedPolicyValidator(policy_document).validate()
        return super().create_policy(description, path, policy_document, policy_name, tags)

    def create_policy_version(self, policy_arn: str, policy_document: str, set_as_default: bool) -> Any:  # noqa: FBT001
        _ManagedPolicyValidator(policy_document).validate()
        return super().create_policy_version(policy_arn, policy_document, set_as_default)

    def get_policy(self, policy_arn: str) -> Any:
        self._load(policy_arn)
        return super().get_policy(policy_arn)

    def attach_role_policy(self, policy_arn: str, role_name: str) -> None:
        self._load(policy_arn)
        super().attach_role_policy(policy_arn, role_name)

    def delete_server_certificate(self, name: str) -> None:
        """Reject the deletion of a certificate that a listener uses.

        https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteServerCertificate.html
        """
        certificate = self.get_server_certificate(name)
        users = certificate_users(certificate.arn, account_id=self.account_id)
        if users:
            raise DeleteConflictException(
                f"Certificate: {certificate.cert_name} is currently in use by {', '.join(users)}. "
                "Please remove it first before deleting it from IAM."
            )
        super().delete_server_certificate(name)

    def _load(self, policy_arn: str) -> None:
        if _AWS_POLICY not in policy_arn or policy_arn in self.managed_policies:
            return
        name = policy_arn.rsplit("/", 1)[-1]
        data = _aws_policy(name)
        if data is None:
            return
        policy = AWSManagedPolicy.from_data(name, self.account_id, self.region_name, data)
        if policy.arn == policy_arn:
            self.managed_policies[policy.arn] = policy


class LocalIamResponses(IamResponse):  # type: ignore[misc]
    """Lists come in pages. moto returns the names of a role's policies at once."""

    def _get_int_param(self, param_name: str, if_none: Any = None) -> Any:
        asked = super()._get_int_param(param_name, if_none)
        is_paged = self._get_action() == "ListAttachedRolePolicies"
        return pages.size(asked) if param_name == "MaxItems" and is_paged else asked

    def list_role_policies(self) -> ActionResult:
        names = super().list_role_policies().result["PolicyNames"]
        asked = self._get_int_param("MaxItems")
        page, marker = pages.cut(names, token=self._get_param("Marker"), asked=asked)
        return ActionResult({"PolicyNames": page, "IsTruncated": marker is not None, "Marker": marker})


def _aws_policy(name: str) -> dict[str, Any] | None:
    """Return a policy from moto's 5 MB of JSON. Its indentation locates it, which avoids parsing everything."""
    start = aws_managed_policies_data.find(f"\n {json.dumps(name)}:")
    if start < 0:
        return None
    start = aws_managed_policies_data.index("{", start)
    policy: dict[str, Any] = json.JSONDecoder().raw_decode(aws_managed_policies_data, start)[0]
    return policy


def install() -> None:
    replace(BaseIAMPolicyValidator, "_validate_version", _accept_any_version)
    use_backend(backends=iam_backends, urls=urls, backend=LocalIamBackend)
    use_responses(urls=urls, responses=LocalIamResponses)

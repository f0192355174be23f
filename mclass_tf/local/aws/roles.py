"""IAM roles as moto keeps them: their policies, and what these allow."""

from __future__ import annotations

from typing import Any

from moto.iam.models import iam_backends
from moto.utilities.utils import get_partition

from mclass_tf.local.aws.policies import Decision, Request, decide, may_allow

_ACCOUNT = 4
_PARTS = 6  # of the ARN of a role


def find(role_arn: str) -> Any:
    """Return the role as moto keeps it, None where there is none."""
    parts = role_arn.split(":")
    if len(parts) < _PARTS:
        return None
    backend = iam_backends[parts[_ACCOUNT]][get_partition("us-east-1")]
    return next((role for role in backend.roles.values() if role.arn == role_arn), None)


def trusts(role: Any, request: Request) -> bool:
    """Return whether the role's trust policy allows an `sts:AssumeRole`."""
    return decide([role.assume_role_policy_document], request) is Decision.ALLOWED


def permits(role: Any, request: Request) -> bool:
    return all(decide(documents, request) is Decision.ALLOWED for _, documents in limits(role))


def may_at_best(role_arn: str, *, action: str, resource: str | None) -> bool:
    """Return whether the role's policies let it do the action, as far as the request is known (`policies.may_allow`)."""
    role = find(role_arn)
    if role is None:
        return False
    return all(may_allow(documents, action=action, resource=resource) for _, documents in limits(role))


def limits(role: Any) -> list[tuple[str, list[str]]]:
    """Return the kinds of policies, as IAM names them, each with its documents: every kind must allow an action."""
    own = [*role.policies.values(), *(_document(policy) for policy in role.managed_policies.values())]
    boundary = _boundary(role)
    return [
        ("identity-based policy", own),
        *([] if boundary is None else [("permissions boundary", [boundary])]),
    ]


def _document(policy: Any) -> str:
    """Return the default version of a managed policy."""
    return next(
        str(version.document)
        for version in policy.versions
        if version.version_id == policy.default_version_id
    )


def _boundary(role: Any) -> str | None:
    arn = role.permissions_boundary_arn
    if not arn:
        return None
    backend = iam_backends[role.account_id][role.partition]
    policy = backend.managed_policies.get(arn)
    return None if policy is None else _document(policy)

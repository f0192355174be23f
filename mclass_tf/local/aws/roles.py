"""IAM roles in moto: their policies, and what these allow."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from moto.iam.models import iam_backends
from moto.utilities.utils import get_partition

from mclass_tf.local.aws.policies import IamDecision, IamRequest, decide, may_allow

_ACCOUNT = 4
_ARN_PARTS = 6


@dataclass
class Propagation:
    """How many seconds a new role stays unknown to everything but IAM. AWS documents no time for it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    """

    seconds: float = 0.0


propagation = Propagation()


def find(role_arn: str) -> Any:
    """Return moto's role, or None if it does not exist, or is too new to be known."""
    parts = role_arn.split(":")
    if len(parts) < _ARN_PARTS:
        return None
    backend = iam_backends[parts[_ACCOUNT]][get_partition("us-east-1")]
    role = next((role for role in backend.roles.values() if role.arn == role_arn), None)
    return None if role is None or _is_new(role) else role


def _is_new(role: Any) -> bool:
    age: dt.timedelta = dt.datetime.now(dt.UTC) - role.create_date.replace(tzinfo=dt.UTC)
    return age.total_seconds() < propagation.seconds


def trusts(role: Any, request: IamRequest) -> bool:
    """Return whether the role's trust policy allows the request, an `sts:AssumeRole`."""
    return decide([role.assume_role_policy_document], request) is IamDecision.ALLOWED


def permits(role: Any, request: IamRequest) -> bool:
    return all(decide(documents, request) is IamDecision.ALLOWED for _, documents in policies_by_kind(role))


def may_permit(role_arn: str, *, action: str, resource: str | None) -> bool:
    """Return whether the role's policies may allow a request of which only this is known (see `policies.may_allow`)."""
    role = find(role_arn)
    if role is None:
        return False
    policies = (documents for _, documents in policies_by_kind(role))
    return all(may_allow(documents, action=action, resource=resource) for documents in policies)


def policies_by_kind(role: Any) -> list[tuple[str, list[str]]]:
    """Return the role's policy documents by kind, as IAM names the kinds. Every kind must allow an action."""
    identity_based = [*role.policies.values(), *map(_document, role.managed_policies.values())]
    boundary = _boundary(role)
    return [
        ("identity-based policy", identity_based),
        *([] if boundary is None else [("permissions boundary", [boundary])]),
    ]


def _document(policy: Any) -> str:
    return next(  # the default version
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

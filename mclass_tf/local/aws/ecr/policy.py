"""Repository policies: who beside the registry's own account may do what with a repository.

modules/ecr lets other accounts pull by one. Who asks is known as an account: a principal that names a role or user of it matches
nobody, and an allowance with a condition allows nothing.
https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policies.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mclass_tf.local.aws import policies
from mclass_tf.local.wildcards import matches

_ACCOUNT = re.compile(r"(?:arn:[a-z-]+:iam::)?(?P<account>\d{12})(?::root)?")
_WHATEVER_ELSE = ("Condition", "NotAction", "NotPrincipal")


def allows(policy: str | None, *, account_id: str, action: str) -> bool:
    """Return whether the policy lets another account do `action`; a denial goes before."""
    effects = {
        str(statement.get("Effect"))
        for statement in policies.statements(policy or "")
        if _concerns(statement, account_id, action)
    }
    return effects == {"Allow"}


def _concerns(statement: Mapping[str, Any], account_id: str, action: str) -> bool:
    if any(key in statement for key in _WHATEVER_ELSE):
        return statement.get("Effect") == "Deny"  # what is not modelled is refused
    principal = statement.get("Principal")
    named = policies.named(principal.get("AWS") if isinstance(principal, Mapping) else principal)
    return any(_account(entry) in {"*", account_id} for entry in named) and any(
        matches(pattern.lower(), action.lower()) for pattern in policies.named(statement.get("Action"))
    )


def _account(principal: str) -> str | None:
    if principal == "*":
        return principal
    arn = _ACCOUNT.fullmatch(principal)
    return arn["account"] if arn else None

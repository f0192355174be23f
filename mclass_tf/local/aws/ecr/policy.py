"""Repository policies: what other accounts may do with a repository. modules/ecr uses them to let accounts pull.

Callers are identified only by their account. So a principal that names a role or user matches nobody, and an Allow with a
condition allows nothing.
https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policies.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mclass_tf.local.aws import policies
from mclass_tf.local.wildcards import matches

_ACCOUNT = re.compile(r"(?:arn:[a-z-]+:iam::)?(?P<account>\d{12})(?::root)?")
_NOT_MODELLED = ("Condition", "NotAction", "NotPrincipal")


def allows(policy: str | None, *, account_id: str, action: str) -> bool:
    """Return whether the policy allows another account the action. A Deny takes precedence."""
    effects = {
        str(statement.get("Effect"))
        for statement in policies.statements(policy or "")
        if _applies(statement, account_id, action)
    }
    return effects == {"Allow"}


def _applies(statement: Mapping[str, Any], account_id: str, action: str) -> bool:
    if any(key in statement for key in _NOT_MODELLED):
        return statement.get("Effect") == "Deny"  # elements that are not modelled never allow
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

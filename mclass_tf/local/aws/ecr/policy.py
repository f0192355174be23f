"""Repository policies: who beside the registry's own account may do what with a repository.

modules/ecr lets other accounts pull by one. Who asks is known as an account: a principal that names a role or user of it matches
nobody, and an allowance with a condition allows nothing.
https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policies.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from mclass_tf.local import documents

_ACCOUNT = re.compile(r"(?:arn:[a-z-]+:iam::)?(?P<account>\d{12})(?::root)?")
_WHATEVER_ELSE = ("Condition", "NotAction", "NotPrincipal")


def allows(policy: str | None, *, account_id: str, action: str) -> bool:
    """Return whether the policy lets another account do `action`; a denial goes before."""
    try:
        statements = _listed(documents.parse_object(policy).get("Statement")) if policy else []
    except documents.MalformedDocumentError:
        return False
    effects = {
        str(statement.get("Effect"))
        for statement in statements
        if isinstance(statement, Mapping) and _concerns(statement, account_id, action)
    }
    return effects == {"Allow"}


def _concerns(statement: Mapping[str, Any], account_id: str, action: str) -> bool:
    if any(key in statement for key in _WHATEVER_ELSE):
        return statement.get("Effect") == "Deny"  # what is not modelled is refused
    named = (_account(principal) for principal in _principals(statement.get("Principal")))
    actions = (str(pattern).lower() for pattern in _listed(statement.get("Action")))
    return any(one in {"*", account_id} for one in named) and any(
        fnmatchcase(action.lower(), pattern) for pattern in actions
    )


def _principals(principal: Any) -> Iterator[str]:
    if isinstance(principal, Mapping):
        principal = principal.get("AWS")
    yield from (str(one) for one in _listed(principal))


def _account(principal: str) -> str | None:
    if principal == "*":
        return principal
    arn = _ACCOUNT.fullmatch(principal)
    return arn["account"] if arn else None


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]

"""KMS: whether another service may use a key, from the key's state and policy as they were applied."""

from __future__ import annotations

import json
from typing import Any

from moto.kms.models import kms_backends


def usable_key(*, account_id: str, region: str, reference: str) -> Any | None:
    """The enabled key that an id, ARN or alias names in this account and region, or None."""
    backend = kms_backends[account_id][region]
    if f":{account_id}:" not in reference and reference.startswith("arn:"):
        return None  # a key of another account, which this account's calls cannot see into
    name = reference.rsplit(":", 1)[-1]
    key_id = (
        backend.get_key_id_from_alias(name) if name.startswith("alias/") else backend.get_key_id(reference)
    )
    key = backend.keys.get(key_id)
    return key if key is not None and key.key_state == "Enabled" else None


def allows_service(key: Any, *, service: str) -> bool:
    """True when a statement of the key's policy lets the service principal in; conditions are not evaluated."""
    statements = json.loads(key.policy).get("Statement", [])
    return any(
        statement.get("Effect") == "Allow" and service in _services(statement.get("Principal"))
        for statement in ([statements] if isinstance(statements, dict) else statements)
    )


def _services(principal: Any) -> list[str]:
    named = principal.get("Service", []) if isinstance(principal, dict) else []
    return [named] if isinstance(named, str) else list(named)

"""IAM policy documents: a parser and an evaluator for the features that this project uses (Allow, Deny, wildcards)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote

from mclass_tf.local.wildcards import matches


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement. `inverted` means that it names what it does *not* cover (NotAction, NotResource, NotPrincipal)."""

    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    principals: Mapping[str, tuple[str, ...]]
    conditional: bool
    inverted: bool

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Self:
        principal = item.get("Principal", {})
        principals = {"AWS": principal} if isinstance(principal, str) else principal
        return cls(
            allows=item.get("Effect") == "Allow",
            actions=_texts(item.get("Action")),
            resources=_texts(item.get("Resource")),
            principals={kind: _texts(value) for kind, value in principals.items()},
            conditional=bool(item.get("Condition")),
            inverted=any(key in item for key in ("NotAction", "NotResource", "NotPrincipal")),
        )

    def covers(self, *, action: str, resource: str) -> bool:
        return any(matches(p, action.lower()) for p in map(str.lower, self.actions)) and any(
            matches(pattern, resource) for pattern in self.resources
        )


@dataclass(frozen=True, kw_only=True)
class Policies:
    """All statements of a role's inline and attached policies. `attached` are the names of the attached ones."""

    statements: tuple[Statement, ...]
    attached: tuple[str, ...]

    @classmethod
    def parse(cls, documents: Sequence[Any], *, attached: Sequence[str] = ()) -> Self:
        statements = [statement for item in documents for statement in statements_of(document(item))]
        return cls(statements=tuple(statements), attached=tuple(attached))

    @property
    def allowed(self) -> tuple[Statement, ...]:
        return tuple(statement for statement in self.statements if statement.allows)

    def allow(self, *, action: str, resource: str) -> bool:
        """Tell whether the action on the resource is allowed. Conditions count as met, except those of a Deny."""
        denied = any(
            statement.covers(action=action, resource=resource)
            for statement in self.statements
            if not statement.allows and not statement.conditional
        )
        return not denied and any(s.covers(action=action, resource=resource) for s in self.allowed)


def statements_of(policy: Mapping[str, Any]) -> tuple[Statement, ...]:
    items = policy.get("Statement", [])
    return tuple(Statement.parse(item) for item in ([items] if isinstance(items, Mapping) else items))


def document(value: Any) -> Mapping[str, Any]:
    """Return a policy document from an object, JSON, or percent-encoded JSON, depending on the API."""
    parsed: Mapping[str, Any] = json.loads(unquote(value)) if isinstance(value, str) else value
    return parsed


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)

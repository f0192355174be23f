"""Evaluates IAM policies: statements with their actions, resources, principals and conditions.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mclass_tf.local.documents import MalformedDocumentError, parse_object
from mclass_tf.local.wildcards import matches

_IF_EXISTS = "IfExists"


class NotModelledError(Exception):
    """A policy contains an element that is not evaluated here."""


class IamDecision(Enum):
    """How policies decide on a request."""

    ALLOWED = "allowed"
    DENIED = "denied"  # explicitly, by a statement
    NOT_ALLOWED = "not allowed"  # implicitly: no statement applies


@dataclass(frozen=True, kw_only=True)
class IamRequest:
    """A request to authorize. `principals` are the names by which a resource-based policy may identify the caller."""

    action: str
    resource: str = "*"
    principals: tuple[str, ...] = ()
    context: Mapping[str, str] = field(default_factory=dict)


def decide(documents: Iterable[str], request: IamRequest) -> IamDecision:
    """Return the decision of the policies (JSON texts) together; may raise NotModelledError."""
    effects = {
        statement.get("Effect")
        for document in documents
        for statement in statements(document)
        if _applies(statement, request)
    }
    if "Deny" in effects:
        return IamDecision.DENIED
    return IamDecision.ALLOWED if "Allow" in effects else IamDecision.NOT_ALLOWED


def may_allow(documents: Iterable[str], *, action: str, resource: str | None) -> bool:
    """Return whether the policies may allow the action. Anything unknown counts in favour of the request.

    `resource` is None if unknown. Conditions are not evaluated: they are ignored in an Allow, and a Deny with a condition is
    ignored.
    """
    effects = {
        statement.get("Effect")
        for document in documents
        for statement in statements(document)
        if _may_apply(statement, action=action, resource=resource)
    }
    return effects == {"Allow"}


def _may_apply(statement: Mapping[str, Any], *, action: str, resource: str | None) -> bool:
    is_denial = statement.get("Effect") == "Deny"
    if is_denial and statement.get("Condition"):
        return False
    if not _covers(statement, "Action", lambda pattern: matches(pattern.lower(), action.lower())):
        return False
    if resource is not None:
        return _covers(statement, "Resource", lambda pattern: matches(pattern, resource))
    return not is_denial or "*" in named(statement.get("Resource"))


def statements(document: str) -> list[Mapping[str, Any]]:
    """Return the statements of a policy. A malformed document has none, so it allows nothing."""
    try:
        entries = _listed(parse_object(document).get("Statement"))
    except MalformedDocumentError:
        return []
    return [statement for statement in entries if isinstance(statement, Mapping)]


def _applies(statement: Mapping[str, Any], request: IamRequest) -> bool:
    return (
        _covers(statement, "Action", lambda pattern: matches(pattern.lower(), request.action.lower()))
        and _covers(statement, "Resource", lambda pattern: matches(pattern, request.resource))
        and _covers(statement, "Principal", lambda entry: entry == "*" or entry in request.principals)
        and all(
            _holds(operator, key, _listed(expected), request.context)
            for operator, keys in (statement.get("Condition") or {}).items()
            for key, expected in keys.items()
        )
    )


def _covers(statement: Mapping[str, Any], element: str, is_match: Callable[[str], bool]) -> bool:
    """Return whether an element of the statement matches. An absent one (usually the principal) matches everything."""
    if f"Not{element}" in statement:
        return not any(is_match(entry) for entry in named(statement[f"Not{element}"]))
    return element not in statement or any(is_match(entry) for entry in named(statement[element]))


def named(value: Any) -> list[str]:
    """Return the entries of an element, also of principals, which are grouped by kind (AWS, Service)."""
    kinds = value.values() if isinstance(value, Mapping) else [value]
    return [str(entry) for entries in kinds for entry in _listed(entries)]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


# ---- conditions: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html


def _equals(expected: str, value: str) -> bool:
    return expected == value


def _equals_in_any_case(expected: str, value: str) -> bool:
    return expected.lower() == value.lower()


_OPERATORS: dict[str, tuple[Callable[[str, str], bool], bool]] = {
    "ArnEquals": (matches, True),
    "ArnLike": (matches, True),
    "ArnNotEquals": (matches, False),
    "ArnNotLike": (matches, False),
    "Bool": (_equals_in_any_case, True),
    "StringEquals": (_equals, True),
    "StringEqualsIgnoreCase": (_equals_in_any_case, True),
    "StringLike": (matches, True),
    "StringNotEquals": (_equals, False),
    "StringNotLike": (matches, False),
}


def _holds(operator: str, key: str, expected: Sequence[Any], context: Mapping[str, str]) -> bool:
    """Return whether the condition holds. An absent key fails it, unless the operator is negated or ends in IfExists."""
    actual = next((value for name, value in context.items() if name.lower() == key.lower()), None)
    if operator == "Null":
        return any((str(entry).lower() == "true") == (actual is None) for entry in expected)
    name = operator.removesuffix(_IF_EXISTS)
    if name not in _OPERATORS:
        raise NotModelledError(f"the condition operator {operator}")
    compare, is_positive = _OPERATORS[name]
    if actual is None:
        return operator.endswith(_IF_EXISTS) or not is_positive
    return any(compare(str(entry), actual) for entry in expected) == is_positive

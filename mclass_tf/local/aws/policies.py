"""What policies of IAM decide: statements, their actions, resources, principals and conditions.

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
    """A policy says something that is not evaluated here."""


class Decision(Enum):
    """What a set of policies says to a request."""

    ALLOWED = "allowed"
    DENIED = "denied"  # by a statement
    NOT_ALLOWED = "not allowed"  # by none


@dataclass(frozen=True, kw_only=True)
class Request:
    """Who wants to do what, with which. `principals` are the names under which a resource's policy may mean the caller."""

    action: str
    resource: str = "*"
    principals: tuple[str, ...] = ()
    context: Mapping[str, str] = field(default_factory=dict)


def decide(documents: Iterable[str], request: Request) -> Decision:
    """Return what the policies (JSON texts) say together; raise NotModelledError."""
    effects = {
        statement.get("Effect")
        for document in documents
        for statement in statements(document)
        if _applies(statement, request)
    }
    if "Deny" in effects:
        return Decision.DENIED
    return Decision.ALLOWED if "Allow" in effects else Decision.NOT_ALLOWED


def may_allow(documents: Iterable[str], *, action: str, resource: str | None) -> bool:
    """Return whether the policies may allow the action: what is unknown of the request counts in its favour.

    `resource` is None where it is not known. Conditions are not evaluated: an Allow is taken without them, a Deny that has any
    is not.
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
    if not _concerns(statement, "Action", lambda pattern: matches(pattern.lower(), action.lower())):
        return False
    if resource is not None:
        return _concerns(statement, "Resource", lambda pattern: matches(pattern, resource))
    return not is_denial or "*" in named(statement.get("Resource"))


def statements(document: str) -> list[Mapping[str, Any]]:
    """Return the statements of a policy; of a text that is none, nothing: it allows nothing."""
    try:
        entries = _listed(parse_object(document).get("Statement"))
    except MalformedDocumentError:
        return []
    return [statement for statement in entries if isinstance(statement, Mapping)]


def _applies(statement: Mapping[str, Any], request: Request) -> bool:
    return (
        _concerns(statement, "Action", lambda pattern: matches(pattern.lower(), request.action.lower()))
        and _concerns(statement, "Resource", lambda pattern: matches(pattern, request.resource))
        and _concerns(statement, "Principal", lambda entry: entry == "*" or entry in request.principals)
        and all(
            _holds(operator, key, _listed(expected), request.context)
            for operator, keys in (statement.get("Condition") or {}).items()
            for key, expected in keys.items()
        )
    )


def _concerns(statement: Mapping[str, Any], element: str, is_meant: Callable[[str], bool]) -> bool:
    """Return whether one element of the statement applies to the request; an absent one (mostly a principal) applies to all."""
    if f"Not{element}" in statement:
        return not any(is_meant(entry) for entry in named(statement[f"Not{element}"]))
    return element not in statement or any(is_meant(entry) for entry in named(statement[element]))


def named(value: Any) -> list[str]:
    """Return the entries of an element; principals come by kind (AWS, Service)."""
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
    """Return whether the condition holds. An absent key fails it, unless it is negated or says IfExists."""
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

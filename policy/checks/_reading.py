"""Reading of values as Checkov hands them to checks: each in a list, texts for numbers, unknown ones as a marker."""

from __future__ import annotations

import re
from typing import Any

from checkov.common.models.enums import CheckResult

_AFTER_APPLY = ("(known after apply", "true_after_unknown")  # the gate's word for it, and Checkov's own
_EXPRESSION = re.compile(r"\$\{|\b(var|local|module|each|data)\.")


def first(conf: dict[str, Any], key: str) -> Any:
    """Return the value of an attribute or nested block, None where it is absent."""
    value = conf.get(key)
    while isinstance(value, list):
        value = value[0] if value else None
    return value


def unresolved(value: Any) -> bool:
    """Tell a value that is not known here: an expression that was not rendered, or what only the apply will tell."""
    return isinstance(value, str) and (
        value.startswith(_AFTER_APPLY) or _EXPRESSION.search(value) is not None
    )


def switched_on(value: Any) -> CheckResult:
    """Judge a switch that must be on."""
    if unresolved(value):
        return CheckResult.UNKNOWN
    return CheckResult.PASSED if value is True else CheckResult.FAILED


def number(value: Any) -> float | None:
    """Return a number, None for what is none (yet): a reference, or a value that only the apply will tell."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def containers(conf: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the containers of a task definition, None where they are not known (yet)."""
    value = conf.get("container_definitions")
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        return None
    return value


def essential(container: dict[str, Any]) -> bool:
    """Tell whether the task stops with this container: ECS takes a container for essential unless it says no."""
    return container.get("essential", True) is not False

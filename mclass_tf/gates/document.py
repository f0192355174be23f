"""The plan as a scanner gets it: what it reads and no more, without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

MASK: Final = "(sensitive)"


def for_scanner(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of Terraform's JSON plan that describes what will be, with sensitive values masked.

    Left out are the prior state, the drift, the input variables and the outputs: nobody scans them, and they hold secrets.
    """
    return {
        "format_version": plan.get("format_version", "1.2"),
        "terraform_version": plan.get("terraform_version", ""),
        "planned_values": {"root_module": _module(plan.get("planned_values", {}).get("root_module", {}))},
        "resource_changes": [
            {
                "address": entry["address"],
                "change": {
                    "actions": entry["change"]["actions"],
                    "before": None,
                    "after": None,
                    "after_unknown": entry["change"].get("after_unknown", {}),
                },
            }
            for entry in plan.get("resource_changes", ())
        ],
        "configuration": _without_variables(plan.get("configuration", {})),
    }


def _module(module: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **module,
        "resources": [
            {
                **{key: value for key, value in resource.items() if key != "sensitive_values"},
                "values": _masked(resource.get("values", {}), resource.get("sensitive_values", {})),
            }
            for resource in module.get("resources", ())
        ],
        "child_modules": [_module(child) for child in module.get("child_modules", ())],
    }


def _masked(value: Any, marks: Any) -> Any:
    if marks is True:
        return _mask(value)
    if isinstance(value, dict) and isinstance(marks, dict):
        return {key: _masked(inner, marks.get(key)) for key, inner in value.items()}
    if isinstance(value, list) and isinstance(marks, list):
        return [_masked(inner, marks[i] if i < len(marks) else None) for i, inner in enumerate(value)]
    return value


def _mask(value: Any) -> Any:
    """Mask texts at any depth. In a text that is JSON only what stands under `value` is masked, so that the rest, such as
    the image of a container whose environment is sensitive, can still be judged.
    """
    if isinstance(value, dict):
        return {key: _mask(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mask(inner) for inner in value]
    if not isinstance(value, str):
        return value
    try:
        inner = json.loads(value)
    except ValueError:
        return MASK
    return json.dumps(_mask_values(inner)) if isinstance(inner, dict | list) else MASK


def _mask_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: MASK if key == "value" else _mask_values(inner) for key, inner in value.items()}
    return [_mask_values(inner) for inner in value] if isinstance(value, list) else value


def _without_variables(configuration: Mapping[str, Any]) -> dict[str, Any]:
    root = {key: value for key, value in configuration.get("root_module", {}).items() if key != "variables"}
    return {**configuration, "root_module": root}


def addresses(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the address of every resource and data source that exists after the plan, or is read by it."""
    for values in (plan.get("planned_values"), plan.get("prior_state", {}).get("values")):
        yield from _addresses((values or {}).get("root_module", {}))
    for entry in plan.get("resource_changes", ()):
        if entry["change"]["actions"] == ["read"]:
            yield entry["address"]


def _addresses(module: Mapping[str, Any]) -> Iterator[str]:
    for resource in module.get("resources", ()):
        yield resource["address"]
    for child in module.get("child_modules", ()):
        yield from _addresses(child)

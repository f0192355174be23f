"""The plan as a scanner receives it: only the parts that it reads, without secrets, with placeholders for unknown values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mclass_tf.gates.secrets import Secrets, configuration

# Prefix of the placeholder of a value that is known only after apply: it counts as set, and equals no known value.
UNKNOWN: Final = "(known after apply: "


def for_scanner(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of Terraform's JSON plan that describes the planned resources, with sensitive values masked.

    The prior state, the drift, the input variables and the outputs are left out: no rule scans them, and they contain secrets.
    A value that the configuration sets but that is known only after apply, such as the ARN of a new key, becomes a text that
    starts with `UNKNOWN`. Without it, the argument would look unset.
    """
    root = plan.get("configuration", {}).get("root_module", {})
    changes = plan.get("resource_changes", ())
    unknown = {entry["address"]: entry["change"].get("after_unknown", {}) for entry in changes}
    sensitive = {entry["address"]: entry["change"].get("after_sensitive") for entry in changes}
    builder = _Builder(unknown=unknown, sensitive=sensitive, secrets=Secrets.of(plan))
    return {
        "format_version": plan.get("format_version", "1.2"),
        "terraform_version": plan.get("terraform_version", ""),
        "planned_values": {
            "root_module": builder.module(plan.get("planned_values", {}).get("root_module", {}), root)
        },
        "resource_changes": [
            {
                "address": entry["address"],
                "change": {
                    "actions": entry["change"]["actions"],
                    "before": None,
                    "after": None,
                    "after_unknown": {},
                },
            }
            for entry in changes
        ],
        "configuration": configuration(plan),
    }


# Characters that YAML allows only as an escape, https://yaml.org/spec/1.2.2/#51-character-set, and YAML's line breaks.
_NOT_IN_YAML: Final = re.compile(
    "[^\\t\\n\\r\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd\\U00010000-\\U0010ffff]"
)


def to_json(document: Mapping[str, Any]) -> str:
    """Return JSON that a YAML reader (which Checkov uses) reads identically: YAML has no surrogate pairs."""
    text = json.dumps(document, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda character: f"\\u{ord(character[0]):04x}", text)


# Blocks that AWS reports back for resources of their own, after the first apply. Each of those is judged itself. If they were
# judged here again, as if written inline, a rule waived for them would fail every later plan.
_MIRRORS: Final[Mapping[str, frozenset[str]]] = {
    "aws_iam_role": frozenset({"inline_policy", "managed_policy_arns"}),
    "aws_network_acl": frozenset({"egress", "ingress"}),
    "aws_route_table": frozenset({"route"}),
    "aws_security_group": frozenset({"egress", "ingress"}),
}


@dataclass(frozen=True, kw_only=True)
class _Builder:
    unknown: Mapping[str, Any]
    sensitive: Mapping[str, Any]
    secrets: Secrets

    def module(self, values: Mapping[str, Any], configuration: Mapping[str, Any]) -> dict[str, Any]:
        blocks = {block["address"]: block for block in configuration.get("resources", ())}
        calls = configuration.get("module_calls", {})
        return {
            **values,
            "resources": [self._resource(resource, blocks) for resource in values.get("resources", ())],
            "child_modules": [
                self.module(child, calls.get(_name(child["address"]), {}).get("module", {}))
                for child in values.get("child_modules", ())
            ],
        }

    def _resource(self, resource: Mapping[str, Any], blocks: Mapping[str, Any]) -> dict[str, Any]:
        block = blocks.get(f"{resource['type']}.{resource['name']}", {})
        masked = self.secrets.masked(resource.get("values", {}), resource.get("sensitive_values", {}))
        masked = self.secrets.masked(masked, self.sensitive.get(resource["address"]))
        expressions = block.get("expressions", {})
        mirrored = _MIRRORS.get(resource["type"], frozenset()) - set(expressions)
        own = {key: value for key, value in masked.items() if key not in mirrored}
        filled = _filled(own, self.unknown.get(resource["address"], {}), expressions)
        return {
            **{key: value for key, value in resource.items() if key not in ("values", "sensitive_values")},
            "values": filled,
        }


def _name(address: str) -> str:
    """Return the name of the last module of a module's address: `b` of `module.a.module.b["c.d"]`."""
    return address.rpartition("module.")[2].partition("[")[0]


def _filled(values: Any, unknown: Any, expressions: Any) -> Any:
    """Insert the placeholder for each unknown value that the configuration sets, at any depth.

    If the expression refers to a resource or data source, Checkov inserts and follows the reference itself, so no placeholder
    is needed. If the configuration sets nothing, the provider's choice proves nothing. Terraform's JSON omits the content of
    dynamic blocks, so an unknown value in one counts as set.
    """
    if isinstance(values, list) and isinstance(unknown, list):
        inner = expressions if isinstance(expressions, list) else [expressions] * len(values)
        return [
            _filled(value, unknown[i] if i < len(unknown) else {}, inner[i] if i < len(inner) else None)
            for i, value in enumerate(values)
        ]
    if not isinstance(values, dict) or not isinstance(unknown, dict):
        return values
    result = dict(values)
    for key, mark in unknown.items():
        expression = expressions.get(key) if isinstance(expressions, dict) else _DYNAMIC
        if mark is True:
            if values.get(key) is None and _is_set(expression):
                result[key] = f"{UNKNOWN}{key})"
        elif key in values:
            result[key] = _filled(values[key], mark, expression if expression is not None else _DYNAMIC)
    return result


_DYNAMIC: Final = object()


def _is_set(expression: Any) -> bool:
    if expression is _DYNAMIC:
        return True
    if not isinstance(expression, dict):
        return False
    references = expression.get("references")
    if not references or not isinstance(references, list):
        return False
    return all(str(reference).startswith(_INDIRECT) for reference in references)


_INDIRECT: Final = ("var.", "local.", "module.", "each.", "count.", "path.", "terraform.")


def addresses(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the address of every resource and data source that exists after the plan or that the plan reads."""
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


def unreadable_containers(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the task definitions whose containers are known only after apply: no rule can judge them."""
    for entry in plan.get("resource_changes", ()):
        unknown = entry["change"].get("after_unknown")
        is_task = entry["type"] == "aws_ecs_task_definition" and isinstance(unknown, dict)
        if is_task and unknown.get("container_definitions"):
            yield entry["address"]

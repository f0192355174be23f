"""Masks what Terraform marks as sensitive in a plan: at any depth, in the configuration, and in JSON within a text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

MASK: Final = "(sensitive)"

# Any part of a JSON text may be the secret. The parts of containers and policies that rules judge stay readable, unless they
# contain a known secret. Of all other JSON only the keys do.
_Judged = Mapping[str, Any]
_Kept = _Judged | bool


def _keys(*names: str) -> dict[str, bool]:
    return dict.fromkeys(names, True)


# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
_CONTAINER: Final[_Judged] = {
    **_keys("name", "image", "user", "cpu", "memory", "memoryReservation", "startTimeout", "stopTimeout"),
    "dependsOn": _keys("containerName", "condition"),
    "environment": _keys("name"),
    "healthCheck": _keys("interval", "retries", "startPeriod", "timeout"),
    "linuxParameters": {"capabilities": _keys("add", "drop")},
    "logConfiguration": _keys("logDriver"),
    "mountPoints": _keys("containerPath", "sourceVolume"),
    "portMappings": _keys("appProtocol", "containerPort", "hostPort", "name", "protocol"),
    "secrets": _keys("name", "valueFrom"),
    "ulimits": _keys("hardLimit", "name", "softLimit"),
}
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
_POLICY: Final[_Judged] = {
    "Version": True,
    "Statement": _keys(
        "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "NotPrincipal"
    ),
}
# Shorter texts occur by chance in many values that are not secret.
_MIN_LEN: Final = 6
_MIN_LEN_UNMARKED: Final = 16
# The plan does not say which arguments of a provider are sensitive. Checks read only this one.
_UNMASKED: Final = frozenset({"region"})


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """All texts that a plan marks as sensitive. They identify the secret where a mark covers more than the secret."""

    texts: frozenset[str]

    @classmethod
    def of(cls, plan: Mapping[str, Any]) -> Secrets:
        """Collect them from the variables, outputs, changes and resources of a plan, planned and prior."""
        return cls(texts=frozenset(_texts(plan)))

    def masked(self, value: Any, marks: Any) -> Any:
        """Return a value without the parts that `marks`, Terraform's `sensitive_values`, marks as sensitive.

        A long text that is marked elsewhere is a secret here, too: where it was made, such as in a terraform_data, it has no mark.
        """
        if marks is True:
            return self._mask(value)
        if isinstance(value, dict) and (isinstance(marks, dict) or not marks):
            return {key: self.masked(inner, (marks or {}).get(key)) for key, inner in value.items()}
        if isinstance(value, list) and (isinstance(marks, list) or not marks):
            known = dict(enumerate(marks or ()))
            return [self.masked(inner, known.get(index)) for index, inner in enumerate(value)]
        # If marks and value differ in shape, the whole value is masked.
        if _is_marked(marks):
            return self._mask(value)
        is_secret = isinstance(value, str) and len(value) >= _MIN_LEN_UNMARKED and value in self.texts
        return MASK if is_secret else value

    def _mask(self, value: Any) -> Any:
        """Mask all texts and numbers. Booleans and nulls stay: rules judge them, and they are no secrets."""
        if isinstance(value, dict):
            return {key: self._mask(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._mask(inner) for inner in value]
        if value is None or isinstance(value, bool):
            return value
        document = _document(value)
        try:
            return MASK if document is None else json.dumps(self._judged(document, _judged_keys(document)))
        except RecursionError:
            return MASK

    def _judged(self, value: Any, kept: _Kept) -> Any:
        """Return a document in which only the parts that rules judge stay readable: `kept`, by key, or all of it."""
        if isinstance(value, dict):
            return {
                self._without_secrets(key): self._judged(
                    inner, kept.get(key, False) if isinstance(kept, Mapping) else kept
                )
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self._judged(inner, kept) for inner in value]
        if value is None or isinstance(value, bool):
            return value
        return self._without_secrets(value) if kept is True else MASK

    def _without_secrets(self, value: Any) -> Any:
        text = str(value)
        leaks = text in self.texts or any(secret in text for secret in self.texts if len(secret) >= _MIN_LEN)
        return MASK if leaks else value


def configuration(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a plan's configuration that a scanner follows: the references.

    Constants are removed: the value of a sensitive argument or the default of a sensitive variable would be a secret. The
    planned values contain their results.
    """
    whole = plan.get("configuration", {})
    return {
        "provider_config": {
            key: {**entry, "expressions": _provider_expressions(entry.get("expressions", {}))}
            for key, entry in whole.get("provider_config", {}).items()
        },
        "root_module": _module(whole.get("root_module", {})),
    }


def _provider_expressions(expressions: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if key in _UNMASKED else _references(value) for key, value in expressions.items()}


def _module(module: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in module.items() if key not in ("variables", "outputs")}
    if "resources" in kept:
        kept["resources"] = [_block(block) for block in kept["resources"]]
    if "module_calls" in kept:
        kept["module_calls"] = {
            name: {**_block(call), "module": _module(call.get("module", {}))}
            for name, call in kept["module_calls"].items()
        }
    return kept


def _block(block: Mapping[str, Any]) -> dict[str, Any]:
    expressions = ("expressions", "count_expression", "for_each_expression")
    kept = {key: _references(value) if key in expressions else value for key, value in block.items()}
    if "provisioners" in kept:
        kept["provisioners"] = [_block(provisioner) for provisioner in kept["provisioners"]]
    return kept


def _references(expression: Any) -> Any:
    """Return expressions with a mask for each constant. Booleans stay."""
    if isinstance(expression, list):
        return [_references(inner) for inner in expression]
    if not isinstance(expression, dict):
        return expression
    return {
        key: _mask_constants(value) if key == "constant_value" else _references(value)
        for key, value in expression.items()
    }


def _mask_constants(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mask_constants(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mask_constants(inner) for inner in value]
    return value if value is None or isinstance(value, bool) else MASK


def _document(value: Any) -> dict[str, Any] | list[Any] | None:
    if not isinstance(value, str):
        return None
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict | list) else None


def _judged_keys(document: dict[str, Any] | list[Any]) -> _Judged:
    """Return the keys that rules judge in a document: those of a task definition's containers or of a policy, else none."""
    if isinstance(document, dict):
        return _POLICY if "Statement" in document else {}
    containers = all(isinstance(each, dict) and "image" in each for each in document)
    return _CONTAINER if containers else {}


def _is_marked(marks: Any) -> bool:
    if isinstance(marks, dict | list):
        return any(map(_is_marked, marks.values() if isinstance(marks, dict) else marks))
    return marks is True


def _texts(plan: Mapping[str, Any]) -> Iterator[str]:
    declared = plan.get("configuration", {}).get("root_module", {}).get("variables", {})
    for name, variable in plan.get("variables", {}).items():
        yield from _marked(variable.get("value"), declared.get(name, {}).get("sensitive") is True)
    for part in (plan.get("planned_values"), plan.get("prior_state", {}).get("values")):
        values = part or {}
        for output in values.get("outputs", {}).values():
            yield from _marked(output.get("value"), output.get("sensitive") is True)
        yield from _module_texts(values.get("root_module", {}))
    for entry in (*plan.get("resource_changes", ()), *plan.get("resource_drift", ())):
        yield from _change_texts(entry["change"])
    for change in plan.get("output_changes", {}).values():
        yield from _change_texts(change)


def _module_texts(module: Mapping[str, Any]) -> Iterator[str]:
    for resource in module.get("resources", ()):
        yield from _marked(resource.get("values"), resource.get("sensitive_values"))
    for child in module.get("child_modules", ()):
        yield from _module_texts(child)


def _change_texts(change: Mapping[str, Any]) -> Iterator[str]:
    for side in ("before", "after"):
        yield from _marked(change.get(side), change.get(f"{side}_sensitive"))


def _marked(value: Any, marks: Any) -> Iterator[str]:
    """Yield the marked texts and numbers. JSON texts are skipped: only parts of them are secret, and the plan does not say which."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _marked(inner, marks.get(key) if isinstance(marks, dict) else marks)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            known = isinstance(marks, list) and index < len(marks)
            yield from _marked(inner, marks[index] if known else None if isinstance(marks, list) else marks)
    elif marks is True and _is_secret(value):
        yield str(value)


def _is_secret(value: Any) -> bool:
    return value not in (None, "", True, False) and _document(value) is None

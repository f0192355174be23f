"""The schema of Terraform's JSON plan: a document that fits it can be read without further checks.

Source: https://developer.hashicorp.com/terraform/internals/json-format#plan-representation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from mclass_tf.errors import PlanRefusedError

_DEEPEST: Final = 200  # levels; a plan of this project has 20
_HINT: Final = "nothing was applied; is the program that runs as Terraform in order? `terraform version`, then plan again"


@dataclass(frozen=True, kw_only=True)
class _Change:
    actions: list[str]
    importing: Mapping[str, Any] | None = None
    replace_paths: list[list[str | int]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _ResourceChange:
    address: str
    type: str
    change: _Change
    previous_address: str = ""
    deposed: str = ""
    action_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _OutputChange:
    actions: list[str]


@dataclass(frozen=True, kw_only=True)
class _Resource:
    address: str
    type: str
    name: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Module:
    address: str = ""
    resources: list[_Resource] = field(default_factory=list)
    child_modules: list[_Module] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Values:
    root_module: _Module = field(default_factory=_Module)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _State:
    values: _Values | None = None


@dataclass(frozen=True, kw_only=True)
class _ConfigurationResource:
    address: str
    expressions: Mapping[str, Any] = field(default_factory=dict)
    provisioners: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _ModuleConfiguration:
    resources: list[_ConfigurationResource] = field(default_factory=list)
    module_calls: Mapping[str, _ModuleCall] = field(default_factory=dict)
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _ModuleCall:
    source: str = ""
    module: _ModuleConfiguration = field(default_factory=_ModuleConfiguration)


@dataclass(frozen=True, kw_only=True)
class _ProviderConfiguration:
    expressions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Configuration:
    root_module: _ModuleConfiguration = field(default_factory=_ModuleConfiguration)
    provider_config: Mapping[str, _ProviderConfiguration] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Document:
    format_version: str = "1.2"
    resource_changes: list[_ResourceChange] = field(default_factory=list)
    resource_drift: list[_ResourceChange] = field(default_factory=list)
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    output_changes: Mapping[str, _OutputChange] = field(default_factory=dict)
    planned_values: _Values = field(default_factory=_Values)
    prior_state: _State = field(default_factory=_State)
    configuration: _Configuration = field(default_factory=_Configuration)


def require(document: Any, *, actions: Collection[str]) -> Mapping[str, Any]:
    """Return the document; raise PlanRefusedError if it is not a plan, or has an action that is not in `actions`."""
    if _is_deeper(document, _DEEPEST):
        raise _refused("it is nested too deeply")
    try:
        read = msgspec.convert(document, _Document)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise _refused(str(error)) from None
    if read.format_version.partition(".")[0] != "1":
        raise _refused(f"its format is {read.format_version}, and only 1.x is known")
    for change in (each.change for each in read.resource_changes):
        if not change.actions or not set(change.actions) <= set(actions):
            raise _refused(f"it has the actions {change.actions}, which are not known")
    plan: Mapping[str, Any] = document
    return plan


def _refused(reason: str) -> PlanRefusedError:
    return PlanRefusedError(f"what Terraform shows of the plan is not a plan: {reason}", hint=_HINT)


def _is_deeper(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested deeper than `levels`, without recursion."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for each in layer
            if isinstance(each, Mapping | list)
            for inner in (each.values() if isinstance(each, Mapping) else each)
        ]
        if not layer:
            return False
    return True

"""The differences between two environments, in their inputs and their applied outputs."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mclass_tf.environment import Environment
from mclass_tf.hcl import module

# Outputs that describe properties of an environment. The others name its resources, and always differ.
_COMPARED = (
    "account_id",
    "autoscaling",
    "availability_zone_rebalancing",
    "container_insights",
    "container_port",
    "deletion_protection",
    "deployment",
    "desired_count",
    "egress",
    "execute_command_enabled",
    "image_digest",
    "log_retention_days",
    "region",
)
_UNSET = "-"
_HIDDEN = "(sensitive)"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One value that differs, `source` in one environment and `target` in the other; "-" if not set."""

    what: str
    name: str
    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class EnvironmentSide:
    """One environment: its inputs (terraform.tfvars) and its outputs."""

    environment: Environment
    outputs: Mapping[str, Any]


def differences(source: EnvironmentSide, target: EnvironmentSide, *, root: Path) -> tuple[Difference, ...]:
    """Return the differences, inputs before outputs; an output that repeats a difference of the inputs is left out.

    The values of inputs that the configuration in `root` declares as sensitive are hidden.
    """
    ours, theirs = source.environment.variables, target.environment.variables
    declared = module.read(root).variables.items()
    hidden = {name for name, variable in declared if variable.is_sensitive and name in {**ours, **theirs}}
    secrets = (
        Difference(what="input", name=name, source=_HIDDEN, target=_HIDDEN)
        for name in sorted(hidden)
        if ours.get(name) != theirs.get(name)
    )
    inputs = (*_differ("input", _without(ours, hidden), _without(theirs, hidden)), *secrets)
    known = {(each.name.rpartition(".")[2], each.source, each.target) for each in inputs}
    compared = (_comparable(source.outputs), _comparable(target.outputs))
    outputs = _differ("output", *compared)
    new = (each for each in outputs if (each.name.rpartition(".")[2], each.source, each.target) not in known)
    return (*inputs, *new)


def _without(values: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _comparable(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: outputs[name] for name in _COMPARED if name in outputs}


def _differ(what: str, source: Mapping[str, Any], target: Mapping[str, Any]) -> Iterator[Difference]:
    ours, theirs = dict(_leaves(source)), dict(_leaves(target))
    for name in sorted(ours.keys() | theirs.keys()):
        values = ours.get(name, _UNSET), theirs.get(name, _UNSET)
        if values[0] != values[1] and name != "environment":
            yield Difference(what=what, name=name, source=values[0], target=values[1])


def _leaves(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{before}{name}", text

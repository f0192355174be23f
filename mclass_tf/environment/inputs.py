"""Read terraform.tfvars, and check it against the variables that the root declares."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mclass_tf.environment import values
from mclass_tf.environment.model import SETTINGS, VARIABLES
from mclass_tf.environment.patterns import BUCKET, BUCKET_RULE, CERTIFICATE
from mclass_tf.environment.table import SettingsTable
from mclass_tf.environment.text import shown
from mclass_tf.errors import ConfigurationError, EngineError
from mclass_tf.hcl import module, types
from mclass_tf.hcl.expression import Expression, from_value
from mclass_tf.hcl.values import null_error, unknown_error

# Variables that this package passes to Terraform; in terraform.tfvars they would have two owners.
OWNED_BY_SETTINGS: Final = ("account_id", "region", "image_digest")

# Inputs that this package reads too, before Terraform validates them.
_READ_HERE: Final = {
    "access_logs_bucket": (BUCKET, BUCKET_RULE),
    "certificate_arn": (
        CERTIFICATE,
        'the ARN of a certificate, "arn:aws:acm:<region>:<account>:certificate/<id>"',
    ),
}

# https://developer.hashicorp.com/terraform/language/values/variables#variable-definitions-tfvars-files
_LOADED: Final = re.compile(r"(terraform|.*\.auto)\.tfvars(\.json)?")


def read(file: Path, *, root: Path, settings: SettingsTable, evaluate: values.Evaluate) -> values.Values:
    """Return the inputs in `file` for the module in `root`; raise ConfigurationError with file, line and key.

    It rejects what Terraform would drop with a warning or silently: an undeclared variable, and an attribute that its type
    lacks, at any depth. It also rejects a null in a list, map or set, which Terraform passes on as an element without a value.
    """
    _reject_auto_loaded(root)
    inputs = values.read(file, evaluate)
    declared = module.read(root)
    _require_declared(inputs, declared)
    _require_one_owner(inputs, settings)
    for name in inputs:
        if name in declared.variables:
            _require_types(inputs, declared.variables[name])
    _require_formats(inputs)
    return inputs


def _reject_auto_loaded(root: Path) -> None:
    strays = sorted(path for path in root.iterdir() if _LOADED.fullmatch(path.name)) if root.is_dir() else []
    for stray in strays:
        raise ConfigurationError(
            "Terraform would read this file for every environment",
            hint=f"move what it sets to {VARIABLES} of the environments that it is meant for, and delete it",
            file=stray,
        )


def _require_declared(inputs: values.Values, declared: module.Module) -> None:
    """Reject a variable that the root does not declare: Terraform only warns, and drops the value."""
    if not declared.is_complete:
        return  # there may be more declarations: `plan` reports what Terraform considers undeclared
    for name in inputs:
        if name in declared.variables or name in OWNED_BY_SETTINGS:
            continue
        similar = difflib.get_close_matches(name, declared.variables, n=1)
        raise inputs.error(
            name,
            f"is no variable of {declared.folder.name}/",
            f"did you mean {similar[0]}?"
            if similar
            else f"variables: {', '.join(sorted(declared.variables))}",
        )


def _require_one_owner(inputs: values.Values, settings: SettingsTable) -> None:
    for name in inputs:
        if name in settings.values or name in OWNED_BY_SETTINGS:
            raise inputs.error(
                name,
                "does not belong here",
                f"{name} is passed to Terraform from {SETTINGS} or the command line; delete this line",
            )


def _require_types(inputs: values.Values, variable: module.Variable) -> None:
    """Reject attributes that Terraform would drop, and nulls that it would pass on."""
    name = variable.name
    attribute = inputs.attributes[name]
    for error in _errors(inputs.file, attribute.value, variable):
        raise error
    if types.is_decided(attribute.value, variable.type):
        return
    try:
        value = inputs[name]
    except EngineError:
        return  # without Terraform, there is no plan either
    for error in _errors(inputs.file, from_value(value, line=attribute.line), variable):
        raise error


def _errors(file: Path, value: Expression, variable: module.Variable) -> Iterator[ConfigurationError]:
    for unknown in types.unknown_attributes(value, variable.type, variable.name):
        yield unknown_error(file, unknown)
    for null in types.null_elements(value, variable.type, variable.name):
        yield null_error(file, null)


def _require_formats(inputs: values.Values) -> None:
    """Reject a value of the wrong format if this package reads it."""
    for name, (pattern, rule) in _READ_HERE.items():
        try:
            value = inputs.text(name)
            is_fit = value is None or pattern.fullmatch(value) is not None
        except ValueError:
            is_fit = False
        if not is_fit:
            raise inputs.error(name, f"is {shown(inputs[name])}", f"{name} is {rule}, or null")

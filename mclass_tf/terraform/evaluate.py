"""Let Terraform evaluate a file of values, in a temporary configuration that only declares the names."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mclass_tf.errors import ConfigurationError, InterruptedByUserError
from mclass_tf.system.process import Command, Completed, Runner
from mclass_tf.terraform import messages
from mclass_tf.terraform.engine import Engine

_UNSET: Final = "\0unset"
# https://developer.hashicorp.com/terraform/language/block/variable: these names cannot be declared.
_RESERVED: Final = frozenset(
    {"count", "depends_on", "for_each", "lifecycle", "locals", "providers", "source", "version"}
)


def evaluate(
    file: Path,
    names: Iterable[str],
    *,
    engine: Callable[[], Engine],
    env: Mapping[str, str],
    run: Runner,
) -> Mapping[str, Any]:
    """Return the values of those `names` that `file` sets.

    Raise ConfigurationError, with the line and Terraform's message, if it rejects the file. It takes a tenth of a second:
    nothing is initialised. The folder, with the state that Terraform writes, is private and temporary.
    """
    declared = [name for name in names if name not in _RESERVED and _is_identifier(name)]
    argv = (
        *engine().argv,
        "apply",
        "-json",
        "-no-color",
        "-input=false",
        "-auto-approve",
        f"-var-file={file.absolute()}",
    )
    with tempfile.TemporaryDirectory(prefix="mclass-tf-", ignore_cleanup_errors=True) as folder:
        Path(folder, "main.tf.json").write_text(json.dumps(_configuration(declared)), encoding="utf-8")
        done = run(Command(argv=argv, cwd=Path(folder), env=_environment(env)))
    if done.interrupted:
        raise InterruptedByUserError("interrupted; nothing more was started")
    values = next(_outputs(done), None)
    if values is None:
        raise _refusal(file, done)
    return {name: value for name, value in values.items() if value != _UNSET}


def _is_identifier(name: str) -> bool:
    return name.replace("-", "_").isidentifier() and not name.startswith("-")


def _configuration(names: list[str]) -> Mapping[str, Any]:
    return {
        "variable": {name: {"default": _UNSET} for name in names},
        "output": {"values": {"value": {name: f"${{var.{name}}}" for name in names}}},
    }


def _environment(parent: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in parent.items() if not name.startswith("TF_")}
    ours = {"CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull, "TF_IN_AUTOMATION": "1"}
    return {**kept, **ours}


def _outputs(done: Completed) -> Iterator[Mapping[str, Any]]:
    for message in map(messages.parse, done.stdout.splitlines() if done.status == 0 else ()):
        values = message.body.get("outputs", {}).get("values", {}) if message is not None else {}
        if "value" in values:
            yield values["value"]


def _refusal(file: Path, done: Completed) -> ConfigurationError:
    parsed = [message for line in done.stdout.splitlines() if (message := messages.parse(line)) is not None]
    errors = [each for each in messages.diagnostics(parsed) if each.severity == "error"]
    if not errors:
        return ConfigurationError(
            f"Terraform cannot read it: {done.stderr.strip() or f'exit status {done.status}, without a word'}",
            hint="is the program that runs as Terraform in order? `terraform version`",
            file=file,
        )
    line = errors[0].where.rpartition(":")[2]
    return ConfigurationError(
        f"not valid HCL: {errors[0].summary}. {errors[0].detail}",
        hint="every value is `name = value`, without variables and functions",
        file=file,
        line=int(line) if line.isdecimal() else None,
    )

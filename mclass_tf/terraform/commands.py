"""Build Terraform's command lines and environment variables. Pure functions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Environment variables of the user that would change Terraform's behaviour.
_STRIPPED = (
    "TF_CLI_ARGS",
    "TF_WORKSPACE",
    "TF_VAR_",
    "TF_DATA_DIR",
    "TF_CLI_CONFIG_FILE",
    "TF_REATTACH_PROVIDERS",
)

_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_CONTAINER_CREDENTIALS_FULL_URI")


def relative(file: Path, *, root: Path) -> Path:
    """Return the path of `file` relative to `root`, Terraform's working directory.

    The project's path may contain a `=`, and then `-backend-config` would take an absolute path for a setting.
    """
    return Path(os.path.relpath(file.resolve(), root.resolve()))


def init(*, backend_config: Path) -> tuple[str, ...]:
    # The lock file is under review, so a run never rewrites it. Each environment has its own backend, so no state migrates.
    return _command(
        "init",
        flags=("reconfigure",),
        options={"backend_config": str(backend_config), "lockfile": "readonly"},
    )


def plan(*, out: Path, var_file: Path, destroy: bool = False) -> tuple[str, ...]:
    flags = ("detailed-exitcode", *(["destroy"] if destroy else []))
    return _command("plan", flags=flags, options={"out": str(out), "var_file": str(var_file)})


def apply(*, plan_file: Path) -> tuple[str, ...]:
    return _command("apply", arguments=(str(plan_file),))


def show(*, plan_file: Path) -> tuple[str, ...]:
    return _build("show", flags=("json", "no-color"), options={}, arguments=(str(plan_file),))


def force_unlock(*, lock_id: str) -> tuple[str, ...]:
    return _build("force-unlock", flags=("force", "no-color"), options={}, arguments=(lock_id,))


def push_state(*, file: Path) -> tuple[str, ...]:
    return _build("state push", flags=("no-color",), options={}, arguments=(str(file),))


def environment(
    parent: Mapping[str, str],
    *,
    data_dir: Path,
    cli_config: Path,
    variables: Mapping[str, str],
    access: Mapping[str, str],
) -> dict[str, str]:
    """Return all environment variables of Terraform: `parent` without variables that affect Terraform, plus ours.

    `variables` become TF_VAR_*, since other users can see argument lists, but not environment variables.
    `access` are the AWS variables. If they have credentials, all AWS settings of `parent` are dropped.
    """
    has_credentials = not access.keys().isdisjoint(_CREDENTIALS)
    # The user's CA bundle is for the network, so TLS still needs it.
    spared = () if access.get("AWS_ENDPOINT_URL", "").startswith("http://") else ("AWS_CA_BUNDLE",)
    kept = {
        key: value
        for key, value in parent.items()
        if not key.startswith(_STRIPPED)
        and not (has_credentials and key.startswith("AWS_") and key not in spared)
    }
    # A run decodes the provider's schema of 1,500 types four times. A lazier garbage collector saves a quarter of the CPU time
    # for an eighth more memory. The user's own GOGC overrides it.
    return (
        {"GOGC": "400"}
        | kept
        | {
            "CHECKPOINT_DISABLE": "1",
            "TF_CLI_CONFIG_FILE": str(cli_config),
            "TF_DATA_DIR": str(data_dir),
            "TF_INPUT": "0",
            "TF_IN_AUTOMATION": "1",
        }
        | {f"TF_VAR_{name}": value for name, value in variables.items()}
        | dict(access)
    )


def _command(
    name: str,
    *,
    flags: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return a command with machine-readable output and without prompts."""
    return _build(
        name,
        flags=("json", "no-color", *flags),
        options={"input": False, **(options or {})},
        arguments=arguments,
    )


def _build(
    name: str, *, flags: Sequence[str], options: Mapping[str, Any], arguments: Sequence[str]
) -> tuple[str, ...]:
    # Only the builder of python-terraform is used: its runner swallows exit codes and logs variables.
    from python_terraform import IsFlagged, Terraform  # noqa: PLC0415

    flagged = dict.fromkeys(flags, IsFlagged)
    argv = Terraform().generate_cmd_string(name, *arguments, **flagged, **options)
    return tuple(argv[1:])

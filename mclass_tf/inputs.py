"""The input files of a plan, and which of them have changed since."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_LOCK_FILE: Final = ".terraform.lock.hcl"
"""The locked provider versions: the only hidden file that Terraform reads."""
# Files that Terraform and editors leave in a configuration folder.
_LEFT_BEHIND: Final = ("*.tfstate", "*.tfstate.backup", "*.tfplan", "crash.log", "crash.*.log", "*~")
_NO_INPUT: Final = ("__pycache__",)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every possible input file below `folder`, in order, without hidden files and files that a run leaves behind.

    Symbolic links to folders are followed; each folder is read once.
    """
    read: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        read.add(os.path.realpath(here))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _NO_INPUT
            and os.path.realpath(Path(here, name)) not in read
        )
        for name in sorted(names):
            file = Path(here, name)
            if (name == _LOCK_FILE or not name.startswith(".")) and not any(map(file.match, _LEFT_BEHIND)):
                yield file


def digests(*, project: Path, environment: Path, data: Path) -> dict[str, str]:
    """Return the SHA-256 of every input file of a plan, by its path relative to `project`.

    Input files are those of terraform/, modules/, the environment's folder, and local modules elsewhere, which Terraform lists
    in `data`, its TF_DATA_DIR, at `init`. Files elsewhere that the configuration reads, as with `file()`, are not included.
    """
    folders = (project / "terraform", project / "modules", environment, *_modules(project, data))
    digest_by_name: dict[str, str] = {}
    for folder in folders:
        for file in files_below(folder):
            name = os.path.relpath(file, project)
            if name not in digest_by_name and file.is_file():
                digest_by_name[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return digest_by_name


def _modules(project: Path, data: Path) -> Iterator[Path]:
    root = project / "terraform"
    try:
        modules = json.loads((data / "modules" / "modules.json").read_text(encoding="utf-8"))["Modules"]
        folders = [Path(os.path.normpath(root / module["Dir"])) for module in modules]
    except (OSError, ValueError, KeyError, TypeError):
        return  # the root calls no modules, or `init` never ran
    for folder in folders:
        # Downloaded modules are determined by the configuration and the lock file.
        if not folder.is_relative_to(data) and folder != root:
            yield folder


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Return a phrase for each file that differs: `terraform/main.tf has changed`."""
    return (
        *(f"{name} has changed" for name in sorted(then.keys() & now.keys()) if then[name] != now[name]),
        *(f"{name} is new" for name in sorted(now.keys() - then.keys())),
        *(f"{name} is gone" for name in sorted(then.keys() - now.keys())),
    )

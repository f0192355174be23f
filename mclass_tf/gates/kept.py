"""Scans of the HCL that are kept between commands, each under the digest of all that it depends on."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mclass_tf.environment import Environment
from mclass_tf.gates.scan import Scan, from_json, to_json
from mclass_tf.system.private import is_private, make_private

_MOST: Final = 20
"""Scans that are kept: of a few environments, and of the branches that somebody works on."""

# What decides how a scan is made and what is kept of it.
_OURS: Final = ("engine.py", "launch.py", "scan.py", "serve.py", "../hcl/rewrite.py", "../hcl/syntax.py")
# Terraform's own folder, where it is used without us: the providers there are no HCL, and 700 MB each.
_UNREAD: Final = (".terraform", "providers")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A folder of scans, for any copy of a project. What cannot be read or written there is as good as not kept: the scan is made."""

    folder: Path
    project: Path
    """The copy at hand: a scan is kept with its places relative to it."""

    @property
    def parser(self) -> Path | None:
        """The folder for what starts a scanner faster; None where it would not be private."""
        with suppress(OSError):
            return self.folder / "parser" if make_private(self.folder) else None
        return None

    def read(self, key: str) -> Scan | None:
        """Return the scan that was kept under `key`, None where there is none."""
        try:
            if not is_private(self.folder):
                return None
            scan = from_json(self._file(key).read_bytes(), project=self.project)
        except (OSError, ValueError):
            return None
        return scan if _is_whole(scan) else None

    def write(self, key: str, scan: Scan) -> None:
        """Keep a scan that has read and evaluated everything; one that has not is made again each time."""
        with suppress(OSError):
            if not _is_whole(scan) or not make_private(self.folder):
                return
            handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".new")  # mode 0600
            with os.fdopen(handle, "wb") as stream:
                stream.write(to_json(scan, project=self.project))
            Path(temporary).replace(self._file(key))
            self._forget_oldest()

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _forget_oldest(self) -> None:
        files = sorted(self.folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for file in files[_MOST:]:
            file.unlink(missing_ok=True)


def _is_whole(scan: Scan) -> bool:
    return bool(scan.results) and not scan.errors


def key_of(*, project: Path, environment: Environment) -> str:
    """Return the digest of all that a scan of the HCL depends on.

    Names and content of every file it may read, the versions of Checkov and Python, and this package's own part in it: what
    the scanner has of its surroundings is stated there, and nobody's shell adds to it. What is not the same to the last byte has another digest; where a project lies is
    not among it, so that a fresh clone or worktree has the scans of the other.
    """
    from importlib.metadata import version  # noqa: PLC0415  # late: no other command needs it

    digest = hashlib.sha256()
    for word in (platform.python_version(), version("checkov"), environment.name):
        digest.update(f"{word}\0".encode())
    for module in _OURS:
        digest.update((Path(__file__).parent / module).read_bytes())
    for path in _files(project, environment):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(os.fsencode(_name(path, project)) + f"\0{content}\n".encode())
    return digest.hexdigest()


def _name(path: Path, project: Path) -> str:
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else str(path)


def _files(project: Path, environment: Environment) -> Iterator[Path]:
    for top in (project / "terraform", project / "modules", project / "policy"):
        for folder, folders, names in os.walk(top):
            here = Path(folder)
            folders[:] = sorted(
                name for name in folders if name != "__pycache__" and (here.name, name) != _UNREAD
            )
            yield from (here / name for name in sorted(names) if (here / name).is_file())
    if environment.variables_file.exists():
        yield environment.variables_file

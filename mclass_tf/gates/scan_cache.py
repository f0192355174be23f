"""The cache of HCL scans between commands, keyed by the digest of all inputs of a scan."""

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

_MAX_SCANS: Final = 20
"""The number of cached scans: enough for a few environments and the branches in use."""

# The sources that decide how a scan runs and what the cache stores.
_SOURCES: Final = ("engine.py", "launch.py", "scan.py", "serve.py", "../hcl/rewrite.py", "../hcl/syntax.py")
# Terraform's own folder, if somebody runs Terraform directly: its providers are no HCL, and 700 MB each.
_SKIPPED: Final = (".terraform", "providers")


@dataclass(frozen=True, kw_only=True)
class ScanCache:
    """A cache of scans in a folder, for any copy of a project. If an entry cannot be read or written, the scan simply runs."""

    folder: Path
    project: Path
    """The present copy of the project. The file locations of a cached scan are relative to it."""

    @property
    def parser_folder(self) -> Path | None:
        """The folder for the scanner's parser cache; None if it would not be private."""
        with suppress(OSError):
            return self.folder / "parser" if make_private(self.folder) else None
        return None

    def read(self, key: str) -> Scan | None:
        """Return the scan cached under `key`, or None."""
        try:
            if not is_private(self.folder):
                return None
            scan = from_json(self._file(key).read_bytes(), project=self.project)
        except (OSError, ValueError):
            return None
        return scan if _is_complete(scan) else None

    def write(self, key: str, scan: Scan) -> None:
        """Cache a scan that has read and evaluated everything. An incomplete scan is never cached."""
        with suppress(OSError):
            if not _is_complete(scan) or not make_private(self.folder):
                return
            handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".new")  # mode 0600
            with os.fdopen(handle, "wb") as stream:
                stream.write(to_json(scan, project=self.project))
            Path(temporary).replace(self._file(key))
            self._delete_oldest()

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _delete_oldest(self) -> None:
        files = sorted(self.folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for file in files[_MAX_SCANS:]:
            file.unlink(missing_ok=True)


def _is_complete(scan: Scan) -> bool:
    return bool(scan.results) and not scan.errors


def cache_key(*, project: Path, environment: Environment) -> str:
    """Return the digest of all inputs of an HCL scan.

    The inputs are the names and contents of every file that it may read, the versions of Checkov and Python, and this package's
    own sources. The sources also state the scanner's environment variables, and a shell cannot add to them. Any changed byte
    changes the digest. The location of the project is not an input, so a fresh clone or worktree shares the cache.
    """
    from importlib.metadata import version  # noqa: PLC0415  # late: no other command needs it

    digest = hashlib.sha256()
    for word in (platform.python_version(), version("checkov"), environment.name):
        digest.update(f"{word}\0".encode())
    for module in _SOURCES:
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
                name for name in folders if name != "__pycache__" and (here.name, name) != _SKIPPED
            )
            yield from (here / name for name in sorted(names) if (here / name).is_file())
    if environment.variables_file.exists():
        yield environment.variables_file

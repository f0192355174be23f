"""Scans of the HCL that are kept between commands, each under the digest of all that it depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mclass_tf.environment import Environment
from mclass_tf.gates import scan
from mclass_tf.gates.places import Place
from mclass_tf.gates.scan import Result, Scan

_MOST: Final = 20
"""Scans that are kept: of a few environments, and of the branches that somebody works on."""

# What Checkov looks up in the environment when it reads HCL; TF_VAR_* are values of variables.
_HEEDED: Final = ("BC_", "CHECKOV_", "CKV_", "EVAL_TF_", "RENDER_", "TF_VAR_")
# Terraform's own folder, where it is used without us: the providers there are no HCL, and 700 MB each.
_UNREAD: Final = (".terraform", "providers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """A folder of scans, for any copy of a project. What cannot be read or written there is as good as not kept: the scan is made."""

    folder: Path
    project: Path
    """The copy at hand: a scan is kept with its places relative to it."""

    def read(self, key: str) -> Scan | None:
        """Return the scan that was kept under `key`, None where there is none."""
        try:
            document = json.loads(self._file(key).read_text(encoding="utf-8"))
            return Scan(results=tuple(self._result(entry) for entry in document["results"]), errors=())
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, key: str, scan: Scan) -> None:
        """Keep a scan that has read and evaluated everything; one that has not is made again each time."""
        if scan.errors or not scan.results:
            return
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            text = json.dumps({"results": [self._entry(result) for result in scan.results]})
            handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".new")  # mode 0600
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(temporary).replace(self._file(key))
            self._forget_oldest()

    def _entry(self, result: Result) -> dict[str, Any]:
        place = result.place
        # What is not the project's own is shown to nobody.
        inside = place is not None and place.file.is_relative_to(self.project)
        kept = (
            {"file": place.file.relative_to(self.project).as_posix(), "line": place.line}
            if place and inside
            else None
        )
        return {**dataclasses.asdict(result), "place": kept}

    def _result(self, entry: Mapping[str, Any]) -> Result:
        place = entry["place"]
        found = None if place is None else Place(file=self.project / place["file"], line=int(place["line"]))
        return Result(**{**entry, "place": found})

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _forget_oldest(self) -> None:
        found = sorted(self.folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for file in found[_MOST:]:
            file.unlink(missing_ok=True)


def key_of(*, project: Path, environment: Environment, env: Mapping[str, str]) -> str:
    """Return the digest of all that a scan of the HCL depends on.

    Names and content of every file it may read, the versions of Checkov and Python, this package's own part in it, and
    what Checkov heeds in the surroundings. What is not the same to the last byte has another digest; where a project lies is
    not among it, so that a fresh clone or worktree has the scans of the other.
    """
    from importlib.metadata import version  # noqa: PLC0415  # late: no other command needs it

    digest = hashlib.sha256()
    for word in (platform.python_version(), version("checkov"), environment.name):
        digest.update(f"{word}\0".encode())
    digest.update(Path(scan.__file__).read_bytes())
    for name in sorted(name for name in env if name.startswith(_HEEDED)):
        digest.update(f"{name}={env[name]}\0".encode())
    for path in _files(project, environment):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{_name(path, project)}\0{content}\n".encode())
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

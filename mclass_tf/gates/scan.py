"""The result of a scan: one result for each check and block, and the errors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from mclass_tf.gates.places import SourceLocation

CHECKS: Final = Path("policy", "checks")
"""The folder of a project's own checks."""


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """One check on one block. `resource` is Checkov's address; `place` is the location in the HCL."""

    check: str
    title: str
    guideline: str
    fix: str
    passed: bool
    resource: str
    place: SourceLocation | None


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The results of a scan. `errors` lists what could not be read or evaluated."""

    results: tuple[ScanResult, ...]
    errors: tuple[str, ...]


def to_json(scan: Scan, *, project: Path) -> bytes:
    """Return the scan as JSON, with locations relative to `project`. Locations outside the project are dropped."""
    inside = [replace(result, place=_relative(result.place, project)) for result in scan.results]
    # msgspec cannot encode it: a file name may contain bytes that are not UTF-8, which are surrogates in a str.
    return json.dumps(asdict(replace(scan, results=tuple(inside))), default=str).encode()


def from_json(data: bytes, *, project: Path) -> Scan:
    """Parse the output of `to_json`, with locations in this copy of the project. Raise ValueError for anything else."""
    try:
        scan = msgspec.convert(json.loads(data), Scan, dec_hook=_path)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    placed = (replace(result, place=_absolute(result.place, project)) for result in scan.results)
    return replace(scan, results=tuple(placed))


def _relative(place: SourceLocation | None, project: Path) -> SourceLocation | None:
    if place is None or not place.file.is_relative_to(project):
        return None
    return replace(place, file=place.file.relative_to(project))


def _absolute(place: SourceLocation | None, project: Path) -> SourceLocation | None:
    return place and replace(place, file=project / place.file)


def _path(kind: type, value: object) -> Path:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"{value!r} is no {kind.__name__}")

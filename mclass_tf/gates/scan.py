"""What a scan says: a result for each check on each block, and what could not be looked at."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from mclass_tf.gates.places import SourceLocation

CHECKS: Final = Path("policy", "checks")
"""Where a project has checks of its own."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One check on one block. `resource` is the address that Checkov gives; `place` is where the HCL has it."""

    check: str
    title: str
    guideline: str
    fix: str
    passed: bool
    resource: str
    place: SourceLocation | None


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The results of a scan, and `errors`: what it could not read or evaluate."""

    results: tuple[Result, ...]
    errors: tuple[str, ...]


def to_json(scan: Scan, *, project: Path) -> bytes:
    """Return the scan as JSON, places relative to `project`; what lies outside of it is shown to nobody."""
    inside = [replace(result, place=_within(result.place, project)) for result in scan.results]
    # Not msgspec's: the name of a file may hold bytes that are not UTF-8, which are surrogates in a str.
    return json.dumps(asdict(replace(scan, results=tuple(inside))), default=str).encode()


def from_json(data: bytes, *, project: Path) -> Scan:
    """Return what `to_json` has written, places in this copy of the project; raise ValueError for anything else."""
    try:
        scan = msgspec.convert(json.loads(data), Scan, dec_hook=_path)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    placed = (replace(result, place=_at(result.place, project)) for result in scan.results)
    return replace(scan, results=tuple(placed))


def _within(place: SourceLocation | None, project: Path) -> SourceLocation | None:
    if place is None or not place.file.is_relative_to(project):
        return None
    return replace(place, file=place.file.relative_to(project))


def _at(place: SourceLocation | None, project: Path) -> SourceLocation | None:
    return place and replace(place, file=project / place.file)


def _path(kind: type, value: object) -> Path:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"{value!r} is no {kind.__name__}")

"""The catalogue of protections: what is removed, where, and which tests must notice."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("catalogue.toml")


class CatalogueError(Exception):
    """An entry does not fit the code any more, or does not say what it must."""


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One protection; `file` is relative to the project, `fast` and `slow` are ids of tests as pytest takes them."""

    name: str
    kind: str
    promise: str
    file: str
    old: str
    new: str
    fast: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.fast and not self.slow:
            raise CatalogueError(f"{self.name}: no test is named that must notice")

    def applied_to(self, text: str) -> str:
        """Return the file's text without the protection; raise CatalogueError unless `old` occurs in it exactly once."""
        count = text.count(self.old)
        if count != 1:
            raise CatalogueError(
                f"{self.name}: the text to replace occurs {count} times in {self.file}, not once: "
                "the protection has moved, so look for it and mend the entry in tests/mutations/catalogue.toml"
            )
        return text.replace(self.old, self.new)

    def apply(self, root: Path) -> None:
        """Remove the protection from the project in `root`."""
        path = root / self.file
        path.write_text(self.applied_to(path.read_text(encoding="utf-8")), encoding="utf-8")
        self.forget_cached(root)

    def forget_cached(self, root: Path) -> None:
        """Remove what Python has compiled of the file: a change within a second to a text as long would not be seen."""
        path = root / self.file
        for cached in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            cached.unlink()


def _entry(values: dict[str, Any]) -> Mutation:
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return Mutation(**fields)


def read(file: Path = FILE) -> tuple[Mutation, ...]:
    """Return all entries; raise CatalogueError where one is not as it must be or two have one name."""
    entries = tomllib.loads(file.read_text(encoding="utf-8"))["mutation"]
    try:
        found = tuple(_entry(entry) for entry in entries)
    except TypeError as error:
        raise CatalogueError(f"{file}: {error}") from None
    names = [each.name for each in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CatalogueError(f"{file}: there are two entries {', '.join(twice)}")
    return found

"""Read a table of environment.toml: check each value, and reject unknown keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mclass_tf.environment.text import read_text, shown
from mclass_tf.errors import ConfigurationError
from mclass_tf.lines import line_of, parse_toml


class SettingsTable:
    """A table of environment.toml. It remembers which keys were read, to reject the others."""

    def __init__(self, file: Path, values: Mapping[str, Any]) -> None:
        self.file = file
        self.values = values
        self._asked: set[str] = set()

    @classmethod
    def read(cls, file: Path) -> SettingsTable:
        return cls(file, parse_toml(read_text(file), file=file))

    def required(self, key: str, pattern: re.Pattern[str], rule: str) -> str:
        value = self.optional(key, pattern, rule)
        if value is None:
            raise ConfigurationError(f"{key} is missing", hint=f"{key} is {rule}", file=self.file, key=key)
        return value

    def optional(self, key: str, pattern: re.Pattern[str], rule: str) -> str | None:
        self._asked.add(key)
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self.error(key, f"is {shown(value)}", f"{key} is {rule}")
        return value

    def number(
        self, key: str, bounds: tuple[float, float], rule: str, *, decimals: int | None = None
    ) -> float | None:
        self._asked.add(key)
        value = self.values.get(key)
        if value is None:
            return None
        # In Python, bool is a subclass of int.
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Division would be inexact: 0.3 / 0.1 is not 3 in floating point.
        if (
            not is_number
            or not bounds[0] <= value <= bounds[1]
            or (decimals is not None and round(value, decimals) != value)
        ):
            raise self.error(key, f"is {shown(value)}", f"{key} is {rule}")
        return float(value)

    def real(self, key: str, bounds: tuple[float, float], rule: str, default: float) -> float:
        value = self.number(key, bounds, rule)
        return default if value is None else value

    def flag(self, key: str, default: bool) -> bool:  # noqa: FBT001  (the default of a flag is one)
        self._asked.add(key)
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"is {shown(value)}", f"{key} is true or false")
        return value

    def whole_number(self, key: str, bounds: tuple[int, int], rule: str, default: int) -> int:
        value = self.number(key, bounds, rule, decimals=0)
        return default if value is None else int(value)

    def strings(self, key: str, pattern: re.Pattern[str], rule: str) -> tuple[str, ...] | None:
        self._asked.add(key)
        value = self.values.get(key)
        if value is None:
            return None
        is_list = isinstance(value, list)
        if not is_list or not all(isinstance(each, str) and pattern.fullmatch(each) for each in value):
            raise self.error(key, f"is {shown(value)}", f"{key} is a list of {rule}")
        return tuple(value)

    def table(self, key: str) -> SettingsTable:
        """Return the table `[key]`, an empty one if it is missing."""
        self._asked.add(key)
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"is {shown(value)}", f"{key} is a table: [{key}]")
        return SettingsTable(self.file, value)

    def tables(self, key: str) -> tuple[SettingsTable, ...]:
        """Return the tables `[[key]]`."""
        self._asked.add(key)
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.error(key, f"is {shown(value)}", f"{key} is a list of tables: [[{key}]]")
        return tuple(SettingsTable(self.file, each) for each in value)

    def reject_unknown_keys(self) -> None:
        for key in self.values:
            if key not in self._asked:
                raise self.error(key, "is not a setting", f"settings: {', '.join(sorted(self._asked))}")

    def error(self, key: str, problem: str, hint: str) -> ConfigurationError:
        return ConfigurationError(
            f"{key} {problem}", hint=hint, file=self.file, line=line_of(read_text(self.file), key), key=key
        )

"""Find line numbers and keys in TOML and HCL files, for error messages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from mclass_tf.errors import ConfigurationError


def parse_toml(text: str, *, file: Path) -> dict[str, Any]:
    """Return the document; raise ConfigurationError with file, line and key if it is not valid TOML."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError(
            "not valid TOML: it is nested too deeply", hint="see https://toml.io", file=file
        ) from None
    except ValueError as error:  # also of a number with more digits than Python reads
        position = re.search(r"at line (\d+)", str(error))
        line = int(position[1]) if position else text.count("\n") + 1
        key = key_on(text, line)
        raise ConfigurationError(
            f"{f'{key}: ' if key else ''}not valid TOML: {error}",
            hint="see https://toml.io",
            file=file,
            line=line,
            key=key,
        ) from None


def line_of(text: str, key: str, *, table: int | None = None) -> int | None:
    """Return the line (from 1) on which TOML or HCL sets `key` or begins its table, None if there is none.

    `table` is the line on which a table begins; then only that table is searched.
    """
    here = re.compile(rf'\s*(\[+\s*)?"?{re.escape(key)}"?\s*[\].=]')
    first = table or 1
    for number, line in enumerate(text.splitlines()[first - 1 :], first):
        if here.match(line):
            return number
        if table is not None and number > table and re.match(r"\s*\[", line):
            break
    return None


def key_on(text: str, line: int) -> str | None:
    """Return the key that a line sets, or None."""
    lines = text.splitlines()
    assignment = re.match(r'\s*"?([\w.-]+)"?\s*=', lines[line - 1]) if 0 < line <= len(lines) else None
    return assignment[1] if assignment else None

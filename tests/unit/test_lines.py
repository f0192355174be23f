"""Lines of what is wrong in a file of settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from mclass_tf.errors import ConfigurationError
from mclass_tf.lines import key_on, line_of, parse_toml

TABLES = """[[waiver]]
check = "CKV_1"
[[waiver]]
check = "CKV_2"
reason = "none"
"quoted-key" = 1
[release.analysis]
"""


@pytest.mark.parametrize(
    ("key", "table", "line"),
    [
        ("check", None, 2),
        ("check", 3, 4),
        ("reason", None, 5),
        ("reason", 1, None),  # it is of the second table
        ("quoted-key", 3, 6),
        ("release", None, 7),
        ("analysis", None, None),
    ],
)
def test_a_key_is_found_in_its_table(key: str, table: int | None, line: int | None) -> None:
    assert line_of(TABLES, key, table=table) == line


def test_a_line_tells_its_key() -> None:
    assert [key_on(TABLES, line) for line in (0, 1, 2, 6, 99)] == [None, None, "check", "quoted-key", None]


@pytest.mark.parametrize(
    ("text", "line", "key"), [("a = 1\nb = = 2\n", 2, "b"), ("a = 1\nb = [1,\n", 3, None)]
)
def test_what_is_no_toml_is_refused_with_its_line(text: str, line: int, key: str | None) -> None:
    with pytest.raises(ConfigurationError, match="not valid TOML") as found:
        parse_toml(text, file=Path("environment.toml"))

    assert (found.value.line, found.value.key) == (line, key)
    assert found.value.hint == "see https://toml.io"

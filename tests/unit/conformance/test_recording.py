"""A recording is read strictly: it comes from strangers."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mclass_tf.conformance import recording
from mclass_tf.conformance.recording import Chapter, EventEntry, Recording, TaskEntry
from mclass_tf.errors import ConfigurationError

_PATH = Path("recording.json")
_GOOD: dict[str, Any] = {
    "format": 1,
    "cloud": "aws",
    "chapters": [{"name": "rolling", "entries": [{"kind": "event", "message": "m"}]}],
}


def _with(**changes: Any) -> bytes:
    return json.dumps({**_GOOD, **changes}).encode()


def _entry(**entry: Any) -> bytes:
    return _with(chapters=[{"name": "c", "entries": [entry]}])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    entries = (EventEntry(at=1.5, message="m"), TaskEntry(task="task-1", status="STOPPED", exit_code=0))
    made = Recording(format=1, cloud="local", chapters=(Chapter(name="rolling", entries=entries, every=2.0),))
    path = tmp_path / "recording.json"
    path.write_bytes(recording.encode(made))

    assert made == recording.read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is no recording"),
        (b"{", "it is no recording"),
        (b"[]", "it is no recording"),
        (b'{"a": 1}', "missing required field `format`"),
        (_with(format=2), "its format is 2, and this version reads format 1"),
        (_with(cloud="azure"), "Invalid enum value 'azure'"),
        (_with(more=1), "unknown field `more`"),
        (_entry(kind="program", run="rm"), "Invalid value 'program'"),
        (_entry(kind="event", message="m", run="rm"), "unknown field `run`"),
        (_entry(kind="event", message=1), "Expected `str`"),
        (_entry(kind="event", message="\x1b[2J"), "control characters"),
        (_entry(kind="event", message="\u202e"), "control characters"),
        pytest.param(_entry(kind="event", message="m" * 5000), "more than 4096 characters", id="long"),
        (_entry(kind="event", message="m", at=1e308), "beyond 1e+09 seconds"),
        (_with(chapters=[{"name": "c", "every": -1e308}]), "beyond 1e+09 seconds"),
        (_entry(kind="weights", rule="production", weights={"a": 1e308, "b": 1e308}), "not from 0 to 1000"),
        (_entry(kind="weights", rule="production", weights={"a": -1}), "not from 0 to 1000"),
        pytest.param(
            _with(chapters=[{"name": str(n)} for n in range(101)]), "more than 100 chapters", id="chapters"
        ),
        (_with(chapters=[{"name": "c"}, {"name": "c"}]), "two chapters have the same name"),
        pytest.param(b"[" * 100_000, "it is no recording", id="deep"),
    ],
)
def test_what_is_no_recording_is_refused_with_the_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "recording.json"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        recording.read(path)

    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "conform" in caught.value.hint


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        recording.read(tmp_path / "none.json")
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(33 * 1024 * 1024)
    with pytest.raises(ConfigurationError, match="more than 32 MiB"):
        recording.read(large)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["format", "cloud", "chapters", "name", "entries", "kind", "at", "x"]), inner)))  # fmt: skip
def test_any_json_is_read_or_refused(document: Any) -> None:
    with suppress(ConfigurationError):
        recording.decode(json.dumps(document).encode(), path=_PATH)

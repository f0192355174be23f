"""The command that compares recordings, and what it refuses before anything is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mclass_tf.cli import main
from mclass_tf.conformance import recording
from mclass_tf.conformance.recording import Chapter, EventEntry, Recording

ROOT = Path(__file__).parents[3]


def _written(path: Path, message: str) -> Path:
    chapter = Chapter(name="rolling", entries=(EventEntry(at=1.0, message=message),), every=1.0)
    path.write_bytes(recording.encode(Recording(format=1, cloud="aws", chapters=(chapter,))))
    return path


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return _written(tmp_path / "one.json", "has reached a steady state.")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return _written(tmp_path / "other.json", "is steady.")


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_recordings_that_do_not_differ_end_with_0(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "--compare", str(one), str(one)]) == 0
    assert "do not differ" in capsys.readouterr().out


def test_recordings_that_differ_end_with_7_and_say_where(
    one: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conform", "--compare", str(one), str(other)]) == 7
    said = capsys.readouterr()
    assert (
        "rolling\n  words: event\n    left   has reached a steady state.\n    right  is steady." in said.out
    )
    assert "differ in 1 places" in said.err


def test_differences_are_json_too(one: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "--compare", str(one), str(other), "--json"]) == 7
    (difference,) = json.loads(capsys.readouterr().out)["differences"]
    assert (difference["what"], difference["left"]) == ("words", "has reached a steady state.")


def test_a_file_that_is_no_recording_ends_with_3(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{}")

    assert main(["conform", "--compare", str(one), str(bad)]) == 3
    assert "bad.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dev",),
        ("--out", "x.json"),
        ("dev", "--compare", "a", "b"),
        ("dev", "--out", "no-such-folder/x.json"),
        ("dev", "--out", "x.json", "--local", "--speed", "0.5"),
    ],
)
def test_a_command_line_that_is_wrong_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert main(["conform", *arguments]) == 2

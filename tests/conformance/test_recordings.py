"""The recordings that are kept here: what documentation says, and what users have recorded on AWS, against the local AWS."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from mclass_tf.conformance import recording
from mclass_tf.conformance.compare import Difference, compare
from mclass_tf.conformance.recording import Recording
from tests import time_limits
from tests.commands import ROOT, CommandLine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("conformance"),
    # Of moto, which does not know the error.
    pytest.mark.filterwarnings("ignore:.*does not match an error shape"),
]

_HERE = Path(__file__).parent
_DOCUMENTED = _HERE / "recordings" / "documented.json"
_Explained = tuple[str, ...]


def _explained(path: Path) -> dict[_Explained, str]:
    """Return the reasons for differences from that recording, by what differs."""
    lines = tomllib.loads((_HERE / "explained.toml").read_text(encoding="utf-8"))["difference"]
    keys = ("chapter", "what", "entry", "left")
    return {tuple(line[key] for key in keys): line["why"] for line in lines if line["recording"] == path.name}


def _key(difference: Difference) -> _Explained:
    return difference.chapter, difference.what, difference.entry, difference.left


_RECORDED = [path for path in sorted((_HERE / "recordings").glob("*.json")) if path != _DOCUMENTED]
_SPEED = 40
_LIFE_SECONDS = 3000.0
"""A life takes ten minutes at this speed on an idle machine."""


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A recording of the local AWS as users make it, with Terraform, images and real tasks."""
    home = tmp_path_factory.mktemp("conform")
    commands, out = CommandLine(project=ROOT, home=home), home / "local.json"
    with time_limits.set_aside():
        commands.ok("local", "up", "--port", "0")
        try:
            argv = commands.argv("conform", "dev", "--local", "--speed", f"{_SPEED}", "--out", str(out))
            life = subprocess.run(
                argv,
                env=commands.variables(),
                capture_output=True,
                text=True,
                timeout=_LIFE_SECONDS,
                check=False,
            )
            assert life.returncode == 0, life.stderr[-4000:]
        finally:
            commands.ok("local", "down")
    return recording.read(out)


@pytest.mark.parametrize("path", _RECORDED, ids=lambda path: path.name)
def test_the_local_aws_does_what_a_user_has_recorded_or_the_difference_is_explained(
    path: Path, lived: Recording
) -> None:
    _require_explained(path, lived)


def _require_explained(path: Path, made: Recording) -> None:
    """Require that each difference is in the table, and each line of the table is a difference."""
    differences, explained = compare(recording.read(path), made), _explained(path)

    assert [str(each) for each in differences if _key(each) not in explained] == []
    assert [key for key in explained if key not in map(_key, differences)] == []
    assert all(why.strip() for why in explained.values())


def test_every_documented_line_names_its_source() -> None:
    documented = recording.read(_DOCUMENTED)
    entries = [entry for chapter in documented.chapters for entry in chapter.entries]

    assert len(entries) > 100
    assert [entry for entry in entries if not entry.source.startswith("https://")] == []


def test_the_local_aws_does_what_is_documented_or_the_difference_is_explained(whole: Recording) -> None:
    _require_explained(_DOCUMENTED, whole)

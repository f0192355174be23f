"""The recordings that are kept here: what documentation says, and what users have recorded on AWS, against the local AWS."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mclass_tf.conformance import recording
from mclass_tf.conformance.compare import Difference, compare
from mclass_tf.conformance.recording import Recording

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("conformance"),
    # Of moto, which does not know the error.
    pytest.mark.filterwarnings("ignore:.*does not match an error shape"),
]

_HERE = Path(__file__).parent
_DOCUMENTED = _HERE / "recordings" / "documented.json"
_Explained = tuple[str, str, str, str]


def _explained() -> dict[_Explained, str]:
    lines = tomllib.loads((_HERE / "explained.toml").read_text(encoding="utf-8"))["difference"]
    return {(line["chapter"], line["what"], line["entry"], line["left"]): line["why"] for line in lines}


def _key(difference: Difference) -> _Explained:
    return difference.chapter, difference.what, difference.entry, difference.left


def test_every_documented_line_names_its_source() -> None:
    documented = recording.read(_DOCUMENTED)
    entries = [entry for chapter in documented.chapters for entry in chapter.entries]

    assert len(entries) > 100
    assert [entry for entry in entries if not entry.source.startswith("https://")] == []


def test_the_local_aws_does_what_is_documented_or_the_difference_is_explained(whole: Recording) -> None:
    differences = compare(recording.read(_DOCUMENTED), whole)
    explained = _explained()

    assert [str(each) for each in differences if _key(each) not in explained] == []
    assert [key for key in explained if key not in map(_key, differences)] == []
    assert all(why.strip() for why in explained.values())

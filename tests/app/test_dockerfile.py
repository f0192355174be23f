"""The Dockerfile and its locked dependencies, checked without a build."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.app.service import ROOT

LOCK = (ROOT / "app" / "requirements.txt").read_text(encoding="utf-8")


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        (str(hadolint), "Dockerfile"), cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


def test_every_dependency_is_pinned_with_hashes_and_names_no_index() -> None:
    blocks = re.split(r"\n(?=[a-z])", re.sub(r"^#.*\n", "", LOCK, flags=re.MULTILINE))

    assert len(blocks) > 4
    for block in blocks:
        assert re.match(r"[a-z0-9-]+==\S+", block)
        assert "--hash=sha256:" in block
    assert "://" not in LOCK
    assert "--index" not in LOCK


def test_what_is_named_is_locked() -> None:
    named = re.findall(r"^([a-z]+)", (ROOT / "app" / "requirements.in").read_text("utf-8"), re.MULTILINE)

    assert set(named) <= set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))


def test_the_tests_run_on_the_versions_that_the_image_has() -> None:
    pinned = re.compile(r"^([a-z0-9-]+)==([^ \n]+)", re.MULTILINE)
    ours = (ROOT / "constraints.txt").read_text(encoding="utf-8")

    assert set(pinned.findall(LOCK)) <= set(pinned.findall(ours))

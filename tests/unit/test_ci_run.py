"""`.ci/run` tells at its end how long each part took, and which one failed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commands import ROOT

# Stands for python3, for the Python of the environment that it makes, and for nox in that.
_PYTHON = """#!/bin/sh
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
  "$FAILS") exit 3;;
  *) echo "ran: $*";;
esac
"""


def run(folder: Path, *, fails: str = "") -> subprocess.CompletedProcess[str]:
    programs = folder / "bin"
    for name in (".ci", "bin"):
        (folder / name).mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    for name, text in (("python3", _PYTHON), ("apt-get", _PYTHON), ("id", "#!/bin/sh\necho 0\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "FAILS": fails}
    argv = ("bash", str(folder / ".ci" / "run"))
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_it_tells_how_long_each_part_took(tmp_path: Path) -> None:
    done = run(tmp_path)

    assert done.returncode == 0, done.stderr
    assert re.findall(r"^ +\d+ min \d\d s  (.+)$", done.stdout, re.MULTILINE) == [
        "tools",
        "environment",
        "lint",
        "audit",
        "fast tests",
        "slow tests",
        "in all",
    ]


@pytest.mark.parametrize(
    ("fails", "parts", "status"),
    [
        ("update -qq", ["tools: failed with 3"], 3),
        ("-m pip install --quiet nox", ["tools", "environment: failed with 3"], 3),
        ("-m nox -s tests", ["tools", "environment", "lint", "audit", "fast tests: failed with 3"], 3),
    ],
)
def test_it_ends_with_the_part_that_fails_and_names_it(
    tmp_path: Path, fails: str, parts: list[str], status: int
) -> None:
    done = run(tmp_path, fails=fails)

    assert done.returncode == status
    told = re.findall(r"^ +\d+ min \d\d s  (.+)$", done.stdout, re.MULTILINE)
    assert told == [*parts, "in all"]
    assert "-m slow" not in done.stdout

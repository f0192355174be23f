"""What a test does where a program is missing that it needs: it skips, or fails where the program must be there."""

from __future__ import annotations

import os
import shutil

import pytest

VARIABLE = "MCLASS_TESTS_TOOLS"
"""Names the programs, with blanks between them, for want of which no test may skip. Continuous integration sets it."""


def need(*programs: str) -> None:
    """Skip the test that has no use without these programs."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        absent(*missing, why=f"{' and '.join(missing)} not there: apt-get install {' '.join(missing)}")


def absent(*programs: str, why: str) -> None:
    """Skip, or fail where one of the programs is promised: what it cannot do here would not be noticed otherwise."""
    promised = os.environ.get(VARIABLE, "").split()
    if set(programs) & set(promised):
        pytest.fail(f"{why}; {VARIABLE} promises it", pytrace=False)
    pytest.skip(why)

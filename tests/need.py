"""Handles tests whose required program is missing: they skip, or fail if the program must be installed."""

from __future__ import annotations

import os
import shutil

import pytest

VARIABLE = "MCLASS_TESTS_TOOLS"
"""The programs, separated by spaces, whose absence must fail a test. Continuous integration sets it."""


def need(*programs: str) -> None:
    """Skip the test if one of these programs is missing."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        absent(*missing, why=f"{' and '.join(missing)} not there: apt-get install {' '.join(missing)}")


def absent(*programs: str, why: str) -> None:
    """Skip, or fail if one of the programs is required: otherwise nobody would notice that it does not work here."""
    promised = os.environ.get(VARIABLE, "").split()
    if set(programs) & set(promised):
        pytest.fail(f"{why}; {VARIABLE} promises it", pytrace=False)
    pytest.skip(why)

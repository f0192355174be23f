"""Folders that no other user can have put anything into."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def is_private(folder: Path) -> bool:
    """Return whether `folder` is a folder of this user (no link to one) that nobody else may write to."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & OTHERS_WRITE
    )


def make_private(folder: Path) -> bool:
    """Make `folder` for this user alone, unless it is there; return whether it is private then. Raise OSError as mkdir does."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return is_private(folder)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Have what makes temporary files in this process make them in `folder`; where that is not private, in one for this once."""
    before = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="mclass-tf-") as fresh:
        tempfile.tempdir = str(folder if _can_be_private(folder) else fresh)
        try:
            yield
        finally:
            tempfile.tempdir = before


def _can_be_private(folder: Path) -> bool:
    try:
        return make_private(folder)
    except OSError:
        return False

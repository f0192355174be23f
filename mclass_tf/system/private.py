"""Creates and checks folders that no other user can write to."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def is_private(folder: Path) -> bool:
    """Return whether `folder` is a folder of this user, not a symbolic link, that nobody else may write to."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & OTHERS_WRITE
    )


def make_private(folder: Path) -> bool:
    """Create `folder` for this user only, unless it exists; return whether it is private. Raises OSError like mkdir."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return is_private(folder)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Make `folder` the folder for temporary files of this process; if it is not private, a fresh folder instead."""
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

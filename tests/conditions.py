"""Real machine faults: a full disk, a read-only disk, no /proc, few file descriptors, no further processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 54321
"""A user without any other process. The limit does not apply to root's processes."""


@contextmanager
def small_disk(folder: Path, *, size: str = "1m") -> Iterator[Path]:
    """Yield `folder` as a disk of its own."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this user may mount nothing: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            return


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def without_proc(argv: Sequence[str]) -> list[str]:
    """Return the command with an empty folder as /proc."""
    script = 'mount -t tmpfs none /proc && exec "$@"'
    begun = ["unshare", "--mount", "sh", "-c", script, "sh"]
    _require([*begun, "true"], "/proc cannot be hidden")
    return [*begun, *argv]


def with_descriptors(number: int, argv: Sequence[str]) -> list[str]:
    return ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(number), *argv]


def with_processes(number: int, argv: Sequence[str]) -> list[str]:
    """Return the command as another user with a limit of processes and threads, who may still read what root may."""
    able = "+dac_override,+fowner"
    user = [f"--reuid={_NOBODY}", "--clear-groups", f"--inh-caps={able}", f"--ambient-caps={able}"]
    begun = ["setpriv", *user, "prlimit", f"--nproc={number}"]
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become a user of its own, by setpriv")
    _require([*begun, "true"], "no user of its own can be had")
    return [*begun, *argv]


def _require(argv: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"{what}: {error}")
    if done.returncode != 0:
        pytest.skip(f"{what}: {done.stderr.strip()}")

"""A base image without an outside registry: Debian with Python, from packages of the machine's mirror."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

SUITE = "bookworm"
PACKAGES = "python3,python-is-python3,python3-pip"
_DEFAULT_MIRROR = "http://deb.debian.org/debian"
_SOURCES = Path("/etc/apt")
_SUPERFLUOUS = ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/locale")


def archive() -> Path:
    """Return the tar of the base image's files. It takes a minute once, and stays in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mclass-tf"
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"base-{SUITE}-1.tar"  # change the number to rebuild it
    with (cache / "base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make(made)
    return made


def _make(made: Path) -> None:
    root = made.with_suffix(".root")
    unfinished = made.with_suffix(".unfinished")
    shutil.rmtree(root, ignore_errors=True)
    try:
        _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), mirror())
        for folder in _SUPERFLUOUS:
            shutil.rmtree(root / folder, ignore_errors=True)
        _run("tar", "--create", "--file", str(unfinished), "--directory", str(root), ".")
        unfinished.rename(made)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        unfinished.unlink(missing_ok=True)


def mirror(sources: Path = _SOURCES) -> str:
    """Return the mirror that apt uses."""
    files = [*sources.glob("sources.list.d/*.sources"), *sources.glob("sources.list*")]
    texts = [path.read_text(encoding="utf-8") for path in files if path.is_file()]
    pattern = r"^(?:URIs:|deb(?: \[.*?\])?) +(https?://\S*/debian/?)(?= |$)"
    found = re.search(pattern, "\n".join(texts), re.MULTILINE)
    return found[1] if found else _DEFAULT_MIRROR


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"{' '.join(command)}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr}"
    )

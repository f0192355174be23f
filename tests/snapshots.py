"""Snapshots of the local AWS from which tests start: made once, kept in .mclass/ between runs.

    applied     dev and prod, planned, gated and applied; no image yet
    released    the same, and version 1.0.0 serves in dev

The key of what is kept covers all that determines it: the configuration, the environments, the package, the service and its
image, the engine, and (by the lock file) the provider.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mclass_tf import image, process
from mclass_tf.terraform import find_engine
from tests.commands import ROOT, CommandLine

APPLIED, RELEASED = "applied", "released"
FIRST = "1.0.0"
"""The version that serves in `released`."""
SPEED = 10.0
"""The clock's, where a test does not choose another."""
_KEPT = ROOT / ".mclass" / "tests"
_FOLDERS = ("app", "environments", "mclass_tf", "modules", "policy", "terraform")
_FILES = ("Dockerfile", "constraints.txt", "pyproject.toml", "tests/snapshots.py")
_LEFT_OUT = {".terraform", "__pycache__"}
_SIGNING_KEY = "snapshot.key"


class Snapshots:
    """Makes a snapshot when it is first asked for, in whichever worker that is, and starts local AWSs from it."""

    def __init__(self, kept: Path = _KEPT) -> None:
        self._kept = kept

    @contextmanager
    def started(
        self, name: str, *, home: Path, project: Path = ROOT, speed: float = SPEED
    ) -> Iterator[CommandLine]:
        """Enter with a local AWS in `home` that has what the snapshot has; it is taken down in the end."""
        snapshot = self._path(name)
        local = home / "local"
        local.mkdir(mode=0o700, parents=True)
        shutil.copy(snapshot.with_name(_SIGNING_KEY), local / _SIGNING_KEY)
        commands = CommandLine(project=project, home=home)
        commands.ok("local", "up", "--port", "0", "--speed", f"{speed:g}", "--from", str(snapshot))
        try:
            yield commands
        finally:
            commands.ok("local", "down")

    def _path(self, name: str) -> Path:
        """Return the snapshot, made if need be; other workers that want it wait."""
        path = self._kept / _key() / f"{name}.snapshot"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with (self._kept / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():
                    self._make(name, path)
        return path

    def _make(self, name: str, path: Path) -> None:
        for old in self._kept.iterdir():
            if old.is_dir() and old != path.parent:
                shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="home-") as folder:
            home = Path(folder) / "home"
            with self._applied(home) if name == APPLIED else self._released(home) as commands:
                draft = home / path.name
                commands.ok("local", "save", str(draft))
            if name == APPLIED:
                shutil.copy(home / "local" / _SIGNING_KEY, path.with_name(_SIGNING_KEY))
            draft.rename(path)

    @contextmanager
    def _applied(self, home: Path) -> Iterator[CommandLine]:
        commands = CommandLine(project=ROOT, home=home)
        commands.ok("local", "up", "--port", "0")
        try:
            commands.ok("plan", "--all", "--local")
            commands.ok("apply", "--all", "--local")
            yield commands
        finally:
            commands.ok("local", "down")

    @contextmanager
    def _released(self, home: Path) -> Iterator[CommandLine]:
        with self.started(APPLIED, home=home) as commands:
            digest = build(commands, FIRST)
            commands.ok("release", "dev", "--local", "--yes", "--image", digest)
            yield commands


def build(commands: CommandLine, version: str, **variables: str) -> str:
    """Build the service as `version`, with further environment variables, and push it to dev; return its digest."""
    built = image.build(
        image.Inputs(
            project=ROOT,
            revision=image.read_revision(ROOT, env=os.environ, run=process.run),
            tag=version,
            variables={"MCLASS_VERSION": version, **variables},
        ),
        images=image.Images(commands.home / "images"),
        builder="builtin",
        may_use_builtin=True,
        env=dict(os.environ),
        run=process.run,
        report=lambda _: None,
    )
    commands.ok("push", "dev", "--local", "--image", built.digest)
    return str(built.digest)


@cache
def _key() -> str:
    seen = hashlib.sha256(f"{sys.version} {find_engine(os.environ, run=process.run)}".encode())
    files = [file for folder in _FOLDERS for file in sorted((ROOT / folder).rglob("*"))]
    for file in (*files, *(ROOT / name for name in _FILES)):
        if file.is_file() and _LEFT_OUT.isdisjoint(file.parts):
            seen.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return seen.hexdigest()[:16]

"""Snapshots of the local AWS for tests: created once, cached in .mclass/ between runs.

- applied: dev and prod, planned, judged by the gates and applied; no image yet
- released: the same, and version 1.0.0 serves in dev; 2.0.0 is pushed
- shifting: the same, and version 2.0.0 has replaced it, blue/green: the service is wired for traffic shifts

The key of a snapshot covers all its inputs: the configuration, the environments, the package, the service and its image, the
engine, and (by the lock file) the provider.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mclass_tf import image
from mclass_tf.system import process
from mclass_tf.terraform import find_engine
from tests import time_limits
from tests.commands import ROOT, CommandLine

APPLIED, RELEASED, SHIFTING = "applied", "released", "shifting"
SPEED = 10.0
"""The clock's speed, unless a test chooses another."""
_KEPT = ROOT / ".mclass" / "tests"
_FOLDERS = ("app", "environments", "mclass_tf", "modules", "policy", "terraform")
_FILES = ("Dockerfile", "constraints.txt", "pyproject.toml", "tests/snapshots.py")
_KEPT_SECONDS = 86_400
_LEFT_OUT = {".terraform", "__pycache__"}
_BLUE_GREEN = '\n[release]\nstrategy = "blue-green"\nbake_minutes = 0\n'
_VERSIONS = "versions.json"
_SIGNING_KEY = "snapshot.key"
_SCANS = "scans"


class Snapshots:
    """Creates each snapshot on first use, in whichever worker needs it, and starts local AWSs from it."""

    def __init__(self, kept: Path = _KEPT) -> None:
        self._kept = kept
        self._makers = {APPLIED: self._applied, RELEASED: self._released, SHIFTING: self._shifting}

    def versions(self) -> dict[str, str]:
        """Return the digests of the pushed versions of the service, in the snapshots with any."""
        found: dict[str, str] = json.loads(self._path(RELEASED).with_name(_VERSIONS).read_text())
        return found

    @contextmanager
    def started(
        self, name: str, *, home: Path, project: Path = ROOT, speed: float = SPEED
    ) -> Iterator[CommandLine]:
        """Start a local AWS in `home` from a snapshot; stop it at the end."""
        snapshot = self._path(name)
        local = home / "local"
        local.mkdir(mode=0o700, parents=True)
        shutil.copy(snapshot.with_name(_SIGNING_KEY), local / _SIGNING_KEY)
        shutil.copytree(snapshot.with_name(_SCANS), home / _SCANS)
        commands = CommandLine(project=project, home=home)
        commands.ok("local", "up", "--port", "0", "--speed", f"{speed:g}", "--from", str(snapshot))
        try:
            yield commands
        finally:
            commands.ok("local", "down")

    def _path(self, name: str) -> Path:
        """Return the snapshot's path, creating the snapshot if needed. Other workers wait for it."""
        path = self._kept / _key() / f"{name}.snapshot"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.utime(path.parent)
        if not path.exists():
            with time_limits.set_aside(), (self._kept / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():
                    self._make(name, path)
        return path

    def _make(self, name: str, path: Path) -> None:
        self._forget_old()
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="home-") as folder:
            home = Path(folder) / "home"
            with self._makers[name](home) as commands:
                draft = home / path.name
                commands.ok("local", "save", str(draft))
            if name == APPLIED:
                shutil.copy(home / "local" / _SIGNING_KEY, path.with_name(_SIGNING_KEY))
                shutil.copytree(home / _SCANS, path.with_name(_SCANS), dirs_exist_ok=True)
            draft.rename(path)

    def _forget_old(self) -> None:
        """Delete snapshots unused for a day. Another run may still use younger ones."""
        for folder in self._kept.iterdir():
            if folder.is_dir() and time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

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
            versions = {name: build(commands, name) for name in ("1.0.0", "2.0.0")}
            (self._kept / _key() / _VERSIONS).write_text(json.dumps(versions))
            commands.ok("release", "dev", "--local", "--yes", "--image", versions["1.0.0"])
            yield commands

    @contextmanager
    def _shifting(self, home: Path) -> Iterator[CommandLine]:
        project = copied_project(home.with_name("project"), _BLUE_GREEN)
        with self.started(RELEASED, home=home, project=project) as commands:
            commands.ok("release", "dev", "--local", "--yes", "--image", self.versions()["2.0.0"])
            yield commands


def copied_project(folder: Path, release: str = "") -> Path:
    """Copy a project for a test that changes it. `release` is added to dev's settings. Return the copy."""
    ignored = shutil.ignore_patterns(".terraform", "*.tfstate*")
    for name in ("terraform", "modules", "environments", "policy"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    settings = folder / "environments" / "dev" / "environment.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + release, encoding="utf-8")
    return folder


def build(commands: CommandLine, version: str, **variables: str) -> str:
    """Build the service as `version`, with extra environment variables, and push it to dev; return its digest."""
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

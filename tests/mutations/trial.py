"""Runs tests on a scratch copy of the project, as it is or without one protection; leaves nothing behind."""

from __future__ import annotations

import enum
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from mclass_tf.local.containers.unpack import remove
from tests.mutations.catalogue import Mutation

# What the suite of every change selects, by pytest's -m. Tests that run nightly alone do not count here.
FAST, SLOW = "not slow", "slow"
_SECONDS = {FAST: 600.0, SLOW: 2400.0}
_ENDING = 120.0  # seconds for the tests to stop what they have started
_MARK = "MCLASS_MUTATIONS_COPY"  # in the environment of all that is started here
_PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider")
_PASSED, _FAILED = 0, 1  # https://docs.pytest.org/en/stable/reference/exit-codes.html
_FIRST_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", flags=re.MULTILINE)
_ANY_PASSED = re.compile(r"\b\d+ passed\b")
_LINES = 20
_UNCHANGED = "unchanged"


class Outcome(enum.Enum):
    """What came of it. NO_RESULT: the tests did not run, or not to their end."""

    DETECTED = "detected"
    SURVIVED = "SURVIVED"
    NO_RESULT = "NO RESULT"


@dataclass(frozen=True, kw_only=True)
class Result:
    """`detail` is the test that failed, or why there is no result."""

    outcome: Outcome
    seconds: float
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy of a project, committed: some tests ask git for the revision."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=lambda: dict(_SECONDS))

    @property
    def root(self) -> Path:
        return self.folder / "project"

    def without(self, mutation: Mutation, tests: Sequence[str], *, mark: str) -> Result:
        """Remove a protection, run the tests until one fails, and put the protection back."""
        try:
            mutation.apply(self.root)
            _git(self.root, "commit", "--quiet", "--all", "--message", mutation.name)
            return self.run(tests, mark=mark)
        finally:
            _git(self.root, "reset", "--quiet", "--hard", _UNCHANGED)
            mutation.forget_cached(self.root)

    def run(self, tests: Sequence[str], *, mark: str, options: Sequence[str] = ()) -> Result:
        """Run those of the tests that have the mark, until one fails."""
        began = time.monotonic()
        with subprocess.Popen(
            [*_PYTEST, "-m", mark, *options, *tests],
            cwd=self.root,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # an interrupt reaches it from here alone
        ) as running:
            try:
                output, _ = running.communicate(timeout=self.seconds[mark])
            except subprocess.TimeoutExpired:
                detail = f"not over after {self.seconds[mark]:g} s"
                return Result(outcome=Outcome.NO_RESULT, seconds=time.monotonic() - began, detail=detail)
            finally:
                _end(running)
                self._end_leftovers()
        return judge(running.returncode, output, seconds=time.monotonic() - began)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        temporary = str(self.folder / "tmp")
        return {**kept, "PYTHONPATH": str(self.root), "TMPDIR": temporary, _MARK: str(self.folder)}

    def _end_leftovers(self) -> None:
        """End what the tests have left running: a local AWS, above all, whose test was killed."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(_MARK) == str(self.folder):
                    process.kill()


@contextmanager
def copied(project: Path) -> Iterator[Copy]:
    """Copy the files of a project that git does not ignore, as they are now; remove the copy in the end."""
    copy = Copy(folder=Path(tempfile.mkdtemp(prefix="mutations-")))
    try:
        (copy.folder / "tmp").mkdir()
        copy.root.mkdir()
        listed = _git(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for name in filter(None, listed.split("\0")):
            if (project / name).is_file():  # else it was deleted
                (copy.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(project / name, copy.root / name)
        _git(copy.root, "init", "--quiet")
        _git(copy.root, "add", "--all")
        _git(copy.root, "commit", "--quiet", "--message", _UNCHANGED)
        _git(copy.root, "tag", _UNCHANGED)
        yield copy
    finally:
        remove(copy.folder)


def judge(status: int, output: str, *, seconds: float) -> Result:
    """Return what pytest's exit status and output mean."""
    failed = _FIRST_FAILED.search(output)
    if status == _FAILED and failed is not None:
        return Result(outcome=Outcome.DETECTED, seconds=seconds, detail=failed[1])
    if status == _PASSED and _ANY_PASSED.search(output):
        return Result(outcome=Outcome.SURVIVED, seconds=seconds)
    last = "\n".join(output.splitlines()[-_LINES:])
    return Result(outcome=Outcome.NO_RESULT, seconds=seconds, detail=f"pytest exited with {status}:\n{last}")


def _end(running: subprocess.Popen[str]) -> None:
    """Interrupt pytest, which then stops what its tests have started; kill what does not heed that."""
    for number, seconds in ((signal.SIGINT, _ENDING), (signal.SIGKILL, None)):
        if running.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(running.pid, number)
        with suppress(subprocess.TimeoutExpired):
            running.communicate(timeout=seconds)


def _git(folder: Path, *arguments: str) -> str:
    settings = {
        "commit.gpgsign": "false",
        "core.hooksPath": os.devnull,
        "tag.gpgsign": "false",
        "user.email": "mutations@localhost",
        "user.name": "mutations",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    done = subprocess.run(
        ["git", *options, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout

"""The working folders of one environment on one target: private, and apart from every other's."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.errors import BusyError
from mclass_tf.system.runs import RunFolder

HOME = ".mclass"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where Terraform works for one environment on one target. Everything below `directory` may be deleted."""

    project: Path
    directory: Path

    @classmethod
    def open(cls, project: Path, *, home: Path, target: str, environment: str) -> Workspace:
        """Make the folders, readable by their owner alone: plans and backend settings hold secrets."""
        directory = home / target / environment
        for path in (home, directory.parent, directory, directory / "plan"):
            path.mkdir(mode=0o700, exist_ok=True)
        return cls(project=project, directory=directory)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folders for one command; raise BusyError where another one has them.

        Two would overwrite each other's plan: one that no gate has seen could take the place of an approved one.
        """
        with (self.directory / "lock").open("a", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(
                    f"another command works on {self.directory.name} in {self.directory}",
                    hint="wait for it to end; nothing was done",
                ) from None
            yield

    @property
    def root(self) -> Path:
        """Return the root configuration; the same files for every environment."""
        return self.project / "terraform"

    @property
    def data(self) -> Path:
        """Return Terraform's TF_DATA_DIR."""
        return self.directory / "data"

    @property
    def plan_file(self) -> Path:
        return self.directory / "plan" / "plan.tfplan"

    @property
    def given_plan(self) -> Path:
        """Return a plan that was made elsewhere, while it is applied."""
        return self.directory / "plan" / "given.tfplan"

    @property
    def cli_config(self) -> Path:
        return self.directory / "terraform.rc"

    @property
    def init_stamp(self) -> Path:
        """Return what the last successful init was made from."""
        return self.directory / "init.sha256"

    @property
    def provider_stamp(self) -> Path:
        """Return the provider's files as they were when they were hashed last, and their hash."""
        return self.directory / "provider.sha256"

    @property
    def run_folder(self) -> RunFolder:
        """Return the output and the record of the Terraform that works here now."""
        return RunFolder(path=self.directory / "run")

    @property
    def rescued_state(self) -> Path:
        """Return where a state goes that Terraform could not write to the backend."""
        return self.directory / "errored.tfstate"


def approval_of(plan: Path) -> Path:
    """Return where the approval of the plan file `plan` is recorded: beside it."""
    return plan.with_name(plan.name + ".approval.json")


def discard(plan: Path) -> None:
    """Remove a plan file and its approval: it can never be applied any more, and a plan holds secrets."""
    plan.unlink(missing_ok=True)
    approval_of(plan).unlink(missing_ok=True)

"""The working folders of one environment in one cloud, private to their owner."""

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
    """Terraform's working folders for one environment in one cloud. Everything below `directory` may be deleted."""

    project: Path
    directory: Path

    @classmethod
    def open(cls, project: Path, *, home: Path, target: str, environment: str) -> Workspace:
        """Create the folders, private to their owner: plans and backend settings contain secrets."""
        directory = home / target / environment
        for path in (home, directory.parent, directory, directory / "plan"):
            path.mkdir(mode=0o700, exist_ok=True)
        return cls(project=project, directory=directory)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folders for one command; raise BusyError if another command holds them.

        Two commands could overwrite each other's plan: an unjudged plan could replace an approved one.
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
        """Return the folder of the root configuration, which all environments share."""
        return self.project / "terraform"

    @property
    def data(self) -> Path:
        """Return Terraform's TF_DATA_DIR."""
        return self.directory / "data"

    @property
    def plan_file(self) -> Path:
        return self.directory / "plan" / "plan.tfplan"

    @property
    def imported_plan(self) -> Path:
        """Return the path of an `apply --plan` file during its apply."""
        return self.directory / "plan" / "given.tfplan"

    @property
    def cli_config(self) -> Path:
        return self.directory / "terraform.rc"

    @property
    def init_stamp(self) -> Path:
        """Return the file with the hash of the last successful init's inputs."""
        return self.directory / "init.sha256"

    @property
    def provider_stamp(self) -> Path:
        """Return the file with the provider's last hash, and the file identities for which it holds."""
        return self.directory / "provider.sha256"

    @property
    def run_folder(self) -> RunFolder:
        """Return the folder with the output and the record of the running Terraform."""
        return RunFolder(path=self.directory / "run")

    @property
    def rescued_state(self) -> Path:
        """Return the path for a state that Terraform could not write to the backend."""
        return self.directory / "errored.tfstate"


def approval_of(plan: Path) -> Path:
    """Return the path of the approval, beside the plan file `plan`."""
    return plan.with_name(plan.name + ".approval.json")


def discard(plan: Path) -> None:
    """Remove a plan file that can no longer be applied, and its approval: a plan contains secrets."""
    plan.unlink(missing_ok=True)
    approval_of(plan).unlink(missing_ok=True)

"""A temporary home folder and local AWS for one measurement."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import Done, run

PROJECT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ("dev", "prod")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Runs the package with `folder` as its temporary home."""

    folder: Path

    @property
    def env(self) -> Mapping[str, str]:
        return {**os.environ, "MCLASS_TF_HOME": str(self.folder / "home")}

    def mclass_tf(self, *arguments: str) -> Done:
        return run((sys.executable, "-m", "mclass_tf", *arguments), folder=PROJECT, env=self.env)

    def shell(self, environment: str) -> dict[str, str]:
        """Return the shell's environment after `eval "$(mclass-tf local env ENV)"`."""
        added: dict[str, str] = json.loads(self.mclass_tf("local", "env", environment, "--json").stdout)
        without = {"AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"}
        return {key: value for key, value in self.env.items() if key not in without} | added


@contextmanager
def stage() -> Iterator[Stage]:
    """Yield a new home. At the end its local AWS is stopped, and everything removed."""
    with tempfile.TemporaryDirectory(prefix="mclass-bench-") as folder:
        made = Stage(folder=Path(folder))
        try:
            yield made
        finally:
            made.mclass_tf("local", "down")


@contextmanager
def local_aws(*options: str) -> Iterator[Stage]:
    """Yield a new home with a local AWS that contains only the environments' prerequisites. `options` are those of `local up`."""
    with stage() as made:
        made.mclass_tf("local", "up", "--port", "0", *options)
        yield made

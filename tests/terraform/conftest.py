"""Terraform on copies of the configuration: with the real provider, and with the schema of a newer one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.system.process import run
from mclass_tf.terraform import find_engine
from mclass_tf.terraform.cliconfig import find_source, render

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDERS = ("terraform", *sorted(f"modules/{path.parent.name}" for path in ROOT.glob("modules/*/main.tf")))
_LEFTOVERS = shutil.ignore_patterns(".terraform", "*.tfstate*")


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """Terraform with one provider."""

    argv: tuple[str, ...]
    env: Mapping[str, str]

    def run(self, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.argv, *arguments], cwd=folder, env=self.env, capture_output=True, text=True, check=False
        )

    def init(self, folder: Path) -> None:
        done = self.run("init", "-backend=false", "-input=false", "-no-color", folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def validate(self, folder: Path) -> list[Mapping[str, Any]]:
        """Return what Terraform says of the initialised folder: nothing, when all is well."""
        self.init(folder)
        done = self.run("validate", "-json", folder=folder)
        diagnostics: list[Mapping[str, Any]] = json.loads(done.stdout)["diagnostics"]
        return diagnostics

    def test(self, folder: Path, *arguments: str) -> str:
        """Run the initialised folder's own tests; return what is said when they pass."""
        done = self.run("test", "-no-color", *arguments, folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@dataclass(frozen=True, kw_only=True)
class Project:
    """A copy of the configuration, which a test may change and initialise."""

    path: Path

    def folder(self, name: str) -> Path:
        return self.path / name


def copy_project(path: Path) -> Project:
    for name in ("modules", "terraform", "environments"):
        shutil.copytree(ROOT / name, path / name, ignore=_LEFTOVERS)
    return Project(path=path)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return copy_project(tmp_path)


def _environment(*, config: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_"))}
    return {
        **kept,
        "CHECKPOINT_DISABLE": "1",
        "GOGC": "400",  # Terraform lives for a second: it need not look for garbage so often
        "TF_CLI_CONFIG_FILE": str(config),
        "TF_IN_AUTOMATION": "1",
        **more,
    }


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform with the provider that the lock file names."""
    config = tmp_path_factory.mktemp("real") / "terraform.tfrc"
    config.write_text(render(find_source(os.environ)))
    return Terraform(argv=find_engine(os.environ, run=run).argv, env=_environment(config=config))


@pytest.fixture(scope="session")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terraform]:
    """Terraform with a provider that only knows the schema of hashicorp/aws 6.69.1."""
    config = tmp_path_factory.mktemp("newest") / "terraform.tfrc"
    config.write_text("")
    with tempfile.TemporaryDirectory(prefix="schema-") as short:  # a socket's path has at most 107 bytes
        argv: list[str | Path] = [
            sys.executable,
            HERE / "schema_provider.py",
            HERE / "aws-6.69.1.json",
            Path(short) / "socket",
        ]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            reattach = server.stdout.readline()
            assert reattach, "the schema provider did not start"
            yield Terraform(
                argv=find_engine(os.environ, run=run).argv,
                env=_environment(config=config, TF_REATTACH_PROVIDERS=reattach.strip()),
            )
            server.communicate()  # closes its input, upon which it ends

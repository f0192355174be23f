"""Terraform plans with one provider process, and only with one that the lock file allows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.commands import CommandLine

pytestmark = pytest.mark.slow

# Terraform, and a line in a file for each command: its name, and whether a provider runs already.
NOTED = """#!/bin/sh
echo "$1 ${{TF_REATTACH_PROVIDERS:+attached}}" >> {log}
exec {terraform} "$@"
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "commands"


@pytest.fixture
def noted(tmp_path: Path, log: Path) -> str:
    """The path of a Terraform that notes its commands in `log`."""
    program = tmp_path / "noted-terraform"
    program.write_text(NOTED.format(log=log, terraform=shutil.which("terraform")))
    program.chmod(0o700)
    return str(program)


def said(log: Path) -> list[str]:
    lines = [line.strip() for line in log.read_text().splitlines() if not line.startswith("version")]
    log.unlink()
    return lines


def test_what_reads_shares_a_provider_and_what_writes_has_its_own(
    small: CommandLine, log: Path, noted: str
) -> None:
    shared = small.ok("plan", "dev", "--local", "--json", MCLASS_TF_TERRAFORM=noted).document
    assert said(log) == ["init", "plan attached", "show attached"]

    # Who asks for Terraform's log gets the provider's in it, and with it a plan made in Terraform's own way.
    alone = small.ok("plan", "dev", "--local", "--json", MCLASS_TF_TERRAFORM=noted, TF_LOG="ERROR").document
    assert said(log) == ["plan", "show"]
    for part in ("summary", "resources", "outputs"):
        assert alone[part] == shared[part]

    small.ok("plan", "dev", "--local", MCLASS_TF_TERRAFORM=noted)
    small.ok("apply", "dev", "--local", MCLASS_TF_TERRAFORM=noted)
    assert said(log) == ["plan attached", "show attached", "apply"]
    assert not small.ok("plan", "dev", "--local", "--json").document["has_changes"]


def test_an_altered_provider_is_not_started(small: CommandLine, tmp_path: Path) -> None:
    small.ok("plan", "dev", "--local")
    (program,) = small.home.glob("work/local/dev/data/providers/*/*/*/*/*/terraform-provider-aws_*")
    package, started = program.parent, tmp_path / "started"
    package.unlink()  # a link into the mirror
    package.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o700)

    refused = small.run("plan", "dev", "--local")

    assert refused.status == 4
    assert "checksum" in refused.stderr
    assert not started.exists()

"""A small project with the real engine, the real provider and a local AWS of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mclass_tf import local
from tests.commands import ROOT, CommandLine

# Passes every policy check, and is applied in seconds.
MAIN = """
variable "account_id" { default = null }
variable "environment" {}
variable "image_digest" { default = null }
variable "region" { default = "ap-northeast-2" }
variable "session_seconds" { default = 3600 }

provider "aws" {
  region              = var.region
  allowed_account_ids = var.account_id == null ? null : [var.account_id]
}

resource "aws_iam_role" "this" {
  name                 = "small-task"
  max_session_duration = var.session_seconds

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

output "image_digest" { value = var.image_digest }
output "role_name" { value = aws_iam_role.this.name }
output "session_seconds" { value = aws_iam_role.this.max_session_duration }
"""
ACCOUNTS = {"dev": "111111111111", "prod": "222222222222"}


def write_project(folder: Path) -> Path:
    """Write the small project: two environments, the policy of this repository without its waivers."""
    (folder / "terraform").mkdir()
    (folder / "terraform" / "main.tf").write_text(MAIN)
    for name in ("versions.tf", "backend.tf", ".terraform.lock.hcl"):
        shutil.copy(ROOT / "terraform" / name, folder / "terraform" / name)
    (folder / "modules").mkdir()
    shutil.copytree(ROOT / "policy", folder / "policy")
    (folder / "policy" / "waivers.toml").write_text("")
    for name, account in ACCOUNTS.items():
        environment = folder / "environments" / name
        environment.mkdir(parents=True)
        (environment / "environment.toml").write_text(
            f'account_id = "{account}"\nregion = "ap-northeast-2"\n'
        )
        (environment / "terraform.tfvars").write_text(f'environment = "{name}"\n')
        (environment / "backend.hcl").write_text(
            f'bucket       = "small-tfstate-{account}"\n'
            'key          = "small.tfstate"\n'
            'region       = "ap-northeast-2"\n'
            "encrypt      = true\n"
            "use_lockfile = true\n"
        )
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.LocalAws]:
    """A local AWS for tests that name what they make after themselves."""
    home = tmp_path_factory.mktemp("shared")
    yield local.up(home=home, port=0)
    local.down(home=home)


@pytest.fixture(scope="session")
def idle_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a local AWS in which nothing is made."""
    commands = CommandLine(project=ROOT, home=tmp_path_factory.mktemp("idle"))
    commands.ok("local", "up", "--port", "0")
    yield commands.home
    commands.ok("local", "down")


@pytest.fixture
def idle(tmp_path: Path, idle_home: Path) -> CommandLine:
    """The small project on a local AWS that is shared with other tests: none of them may apply."""
    return CommandLine(project=write_project(tmp_path), home=idle_home)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[CommandLine]:
    """The small project on a local AWS that only this test uses."""
    commands = CommandLine(project=write_project(tmp_path), home=tmp_path / "home")
    commands.ok("local", "up", "--port", "0")
    yield commands
    commands.ok("local", "down")

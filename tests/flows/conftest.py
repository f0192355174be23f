"""A small project with the real engine, the real provider and a local AWS of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, CommandLine

# Passes every policy check, and is applied in seconds.
MAIN = """
variable "account_id" { default = null }
variable "environment" {}
variable "image_digest" { default = null }
variable "region" { default = "ap-northeast-2" }
variable "retention" { default = 365 }

provider "aws" {
  region              = var.region
  allowed_account_ids = var.account_id == null ? null : [var.account_id]
}

data "aws_caller_identity" "current" {}

resource "aws_kms_key" "this" {
  description             = "Encrypts the log group"
  deletion_window_in_days = 7
  enable_key_rotation     = true
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        Resource  = "*"
      }
    ]
  })
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/ecs/small-task"
  kms_key_id        = aws_kms_key.this.arn
  retention_in_days = var.retention
}

output "image_digest" { value = var.image_digest }
output "log_group_name" { value = aws_cloudwatch_log_group.this.name }
output "retention" { value = aws_cloudwatch_log_group.this.retention_in_days }
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


@pytest.fixture
def small(tmp_path: Path) -> Iterator[CommandLine]:
    """The small project on a local AWS that only this test uses."""
    commands = CommandLine(project=write_project(tmp_path), home=tmp_path / "home")
    commands.ok("local", "up", "--port", "0")
    yield commands
    commands.ok("local", "down")

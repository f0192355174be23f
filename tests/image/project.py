"""A project with this service, and an environment that contains only its repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.commands import ROOT
from tests.flows.conftest import write_project

REPOSITORY = """
resource "aws_ecr_repository" "this" {
  name                 = "web"
  image_tag_mutability = "IMMUTABLE"
  encryption_configuration { encryption_type = "KMS" }
  image_scanning_configuration { scan_on_push = true }
}

output "repository_name" { value = aws_ecr_repository.this.name }
"""


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write_service(folder: Path) -> Path:
    """Write and commit the project, with this repository's app and Dockerfile."""
    folder.mkdir(exist_ok=True)
    write_project(folder)
    with (folder / "terraform" / "main.tf").open("a") as main:
        main.write(REPOSITORY)
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("home/\n.terraform/\n__pycache__/\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder

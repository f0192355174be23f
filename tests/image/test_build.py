"""`mclass_tf build` and `push` of the real Dockerfile: the same digest from the same inputs, and back from the registry."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import CommandLine
from tests.image.conftest import Image, build
from tests.image.podman import Podman, store
from tests.image.project import git, write_service
from tests.need import need

ECR = "111111111111.dkr.ecr.ap-northeast-2.amazonaws.com"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]


def checkout(project: Path, folder: Path) -> CommandLine:
    """The same commit in another folder, with other times and modes, and with bytecode files."""
    git(project, "clone", "-q", str(project), str(folder))
    (folder / "app" / "__pycache__").mkdir()
    (folder / "app" / "__pycache__" / "left.pyc").write_bytes(b"left")
    for path in (folder / "app").rglob("*"):
        path.chmod(0o775 if path.is_dir() else 0o664)
        os.utime(path, (1, 1))
    return CommandLine(project=folder, home=folder / "home")


@pytest.mark.parametrize("builder", ["podman", "buildah"])
def test_the_same_inputs_give_the_same_digest_whatever_the_checkout(
    builder: str, podman: Podman, base: Path, wheels: Path, tmp_path: Path
) -> None:
    """In two stores: the second has an empty cache, the first may have cached other commits."""
    need(builder)
    project = write_service(tmp_path / "project")
    commands = CommandLine(project=project, home=project / "home")

    first = build(commands, podman, builder=builder, wheels=wheels)
    with store() as another:
        another("load", "--quiet", "--input", str(base))
        elsewhere = checkout(project, tmp_path / "elsewhere")
        second = build(elsewhere, another, builder=builder, wheels=wheels)

    assert first.digest == second.digest
    assert first.layout != second.layout


@pytest.mark.parametrize("builder", ["podman", "buildah"])
def test_an_unchanged_app_of_a_new_commit_is_not_taken_for_the_old_one(
    builder: str, podman: Podman, wheels: Path, tmp_path: Path
) -> None:
    """Their caches ignore changed build arguments."""
    need(builder)
    project = write_service(tmp_path / "project")
    commands = CommandLine(project=project, home=project / "home")
    first = build(commands, podman, builder=builder, wheels=wheels)
    git(project, "commit", "-q", "--allow-empty", "-m", "second")

    second = build(commands, podman, builder=builder, wheels=wheels)

    assert second.revision != first.revision
    assert f"MCLASS_REVISION={second.revision}" in second.configuration["Env"]
    assert second.configuration["Labels"]["org.opencontainers.image.revision"] == second.revision
    assert second.manifest["layers"] == first.manifest["layers"]


@pytest.fixture(scope="module")
def applied(image: Image) -> Iterator[CommandLine]:
    """The project's repository, on its own local AWS."""
    image.commands.ok("local", "up", "--port", "0")
    try:
        image.commands.ok("plan", "dev", "--local")
        image.commands.ok("apply", "dev", "--local")
        yield image.commands
    finally:
        image.commands.ok("local", "down")


def test_what_is_pushed_comes_back_with_its_digest_and_runs(applied: CommandLine, image: Image) -> None:
    """Into an empty store, with skopeo and with podman."""
    need("skopeo")
    pushed = applied.ok("push", "dev", "--local", "--json", "--image", image.digest).document
    variables = applied.shell_environment("dev")

    with store() as empty:

        def run(line: str) -> str:
            path = f"{Path(sys.executable).parent}:{variables['PATH']}"
            done = empty.run("bash", "-euo", "pipefail", "-c", line, **{**variables, "PATH": path})
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            return done.stdout.strip()

        run(f"aws ecr get-login-password | skopeo login --username AWS --password-stdin {ECR}")
        seen = json.loads(run(f"skopeo inspect docker://{ECR}/web:{image.revision}"))
        there = run(f"podman pull --quiet {ECR}/web@{pushed['digest']}")
        pulled = json.loads(run(f"podman image inspect {there}"))[0]

        assert image.digest == pushed["digest"] == seen["Digest"] == pulled["Digest"]
        assert pulled["Id"] == image.id
        with empty.running(there) as container:
            assert container.get("/version").json()["revision"] == image.revision

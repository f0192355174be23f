"""Steps 2 and 3 of the guide as it writes them, with docker's commands, on a shell of the local AWS.

podman stands in for docker; with docker itself where its engine runs.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.commands import CommandLine
from tests.image.conftest import BASE, DEFAULT_BASE
from tests.image.podman import PATIENCE, Podman
from tests.image.project import git, write_service
from tests.need import absent, need
from tests.time_limits import seconds_left

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]
ACCOUNT = "111111111111"
ECR = f"{ACCOUNT}.dkr.ecr.ap-northeast-2.amazonaws.com"
# The base image of the Dockerfile, for a machine without a registry or a package index.
_OFFLINE_BASE = f"""
FROM {BASE}
COPY . /wheels-of-the-index
RUN printf '[global]\\nno-index = true\\nfind-links = /wheels-of-the-index\\n' > /etc/pip.conf
"""


@dataclass(frozen=True, kw_only=True)
class Shell:
    """A shell after `eval "$(python -m mclass_tf local env dev)"`, in the project's folder."""

    project: Path
    env: dict[str, str]

    def popen(self, line: str) -> subprocess.Popen[str]:
        argv = ["bash", "-euo", "pipefail", "-c", f"exec {line}"]
        return subprocess.Popen(argv, env=self.env, cwd=self.project, text=True, stdout=subprocess.PIPE)

    def run(self, line: str) -> str:
        argv = ["bash", "-euo", "pipefail", "-c", line]
        done = subprocess.run(
            argv,
            env=self.env,
            cwd=self.project,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds_left(),
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()


def engine_answers() -> bool:
    argv = ["docker", "version", "--format", "{{.Server.Version}}"]
    return shutil.which("docker") is not None and subprocess.run(argv, check=False).returncode == 0


def as_docker(podman: Podman, wheels: Path, folder: Path) -> None:
    """Install podman as docker on a PATH, like the package podman-docker, with the Dockerfile's base image in its store."""
    (folder / "docker").write_text('#!/bin/sh\nexec podman "$@"\n')
    (folder / "docker").chmod(0o700)
    recipe = folder / "Dockerfile"
    recipe.write_text(_OFFLINE_BASE)
    podman("build", "--quiet", "--file", str(recipe), "--tag", DEFAULT_BASE, str(wheels))


@pytest.fixture(params=["podman", "docker"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    docker, env = tmp_path / "docker", dict[str, str]()
    docker.mkdir()
    if request.param == "podman":
        podman: Podman = request.getfixturevalue("podman")
        as_docker(podman, request.getfixturevalue("wheels"), docker)
        env = dict(podman.env)
    else:
        need("docker")
        if not engine_answers():
            absent("docker", why="no engine answers docker")
    project = write_service(tmp_path / "project")
    main = project / "terraform" / "main.tf"
    main.write_text(main.read_text().replace('= "web"', '= "mclass-server"'))
    git(project, "commit", "-q", "-a", "-m", "the guide's name")
    commands = CommandLine(project=project, home=project / "home")
    commands.ok("local", "up", "--port", "0")
    try:
        commands.ok("plan", "dev", "--local")
        commands.ok("apply", "dev", "--local")
        found = commands.shell_environment("dev")
        own, _, rest = found["PATH"].partition(":")  # our docker comes first, then its replacement
        path = f"{own}:{docker}:{Path(sys.executable).parent}:{rest}"
        yield Shell(project=project, env={**found, **env, "PATH": path})
    finally:
        commands.ok("local", "down")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def answers(url: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return httpx.get(url, timeout=PATIENCE).json()
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"nothing answers at {url}"
            time.sleep(0.1)


def test_the_guides_steps_two_and_three_work_as_they_are_written(shell: Shell) -> None:
    shell.run("docker build -t mclass-server .")
    # The guide's port 3000 may be in use on this machine.
    port = free_port()
    with shell.popen(f"docker run -p {port}:3000 mclass-server") as running:
        try:
            assert answers(f"http://127.0.0.1:{port}/")["service"] == "mclass-server"
        finally:
            running.terminate()  # passed on to the service, which is a lame duck for ten seconds
        assert running.wait(PATIENCE) == 0

    shell.run(
        f"aws ecr get-login-password --region ap-northeast-2 | docker login --username AWS --password-stdin {ECR}"
    )
    shell.run(f"docker tag mclass-server:latest {ECR}/mclass-server:latest")
    shell.run(f"docker push {ECR}/mclass-server:latest")

    (detail,) = json.loads(
        shell.run("aws ecr describe-images --repository-name mclass-server --output json")
    )["imageDetails"]
    assert detail["imageTags"] == ["latest"]
    assert detail["imageScanStatus"]["status"] == "COMPLETE"
    findings = json.loads(
        shell.run(
            "aws ecr describe-image-scan-findings --repository-name mclass-server --image-id imageTag=latest"
            " --output json"
        )
    )
    assert findings["imageId"]["imageDigest"] == detail["imageDigest"]
    shell.run(f"docker rmi --force mclass-server:latest {ECR}/mclass-server:latest")
    shell.run(f"docker pull {ECR}/mclass-server@{detail['imageDigest']}")

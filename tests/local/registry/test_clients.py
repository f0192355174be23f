"""The guide's docker commands reach the local AWS, and real clients pull exactly what they pushed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mclass_tf.local.registry import clients
from tests.local.conftest import REGION, Account
from tests.local.registry_client import Image, digest_of, log_in, make_image
from tests.need import need
from tests.time_limits import seconds_left

ADDRESS = "127.0.0.1:4566"
ECR = "111111111111.dkr.ecr.ap-northeast-2.amazonaws.com"


@pytest.mark.parametrize(
    ("program", "given", "run"),
    [
        (
            "docker",
            f"login --username AWS --password-stdin {ECR}",
            f"login --username AWS --password-stdin {ADDRESS}",
        ),
        (
            "docker",
            f"tag mclass-server:latest {ECR}/mclass-server:latest",
            f"tag mclass-server:latest {ADDRESS}/mclass-server:latest",
        ),
        ("podman", f"push {ECR}/web:v1", f"push --tls-verify=false {ADDRESS}/web:v1"),
        (
            "podman",
            f"--runroot run pull {ECR}/web",
            f"--runroot run pull --tls-verify=false {ADDRESS}/web",
        ),
        (
            "buildah",
            f"bud --build-arg=BASE={ECR}/base .",
            f"bud --tls-verify=false --build-arg=BASE={ADDRESS}/base .",
        ),
        (
            "podman",
            f"manifest push l docker://{ECR}/web",
            f"manifest push --tls-verify=false l docker://{ADDRESS}/web",
        ),
        ("podman", f"tag web {ECR}/web", f"tag web {ADDRESS}/web"),
        (
            "skopeo",
            f"copy oci:a docker://{ECR}/web:v1",
            f"--tls-verify=false copy oci:a docker://{ADDRESS}/web:v1",
        ),
        ("podman", "push registry.example.com/web", "push registry.example.com/web"),
        ("podman", f"push example.com/{ECR}/web", f"push example.com/{ECR}/web"),
    ],
)
def test_ecrs_address_is_replaced_by_that_of_the_local_aws(program: str, given: str, run: str) -> None:
    assert run.split() == clients.command(program, given.split(), address=ADDRESS)


def test_the_wrappers_execute_the_real_programs_on_path(tmp_path: Path) -> None:
    real = tmp_path / "real" / "docker"
    real.parent.mkdir()
    real.write_text(f"#!{sys.executable}\nimport sys; print(sys.argv[1:], sys.stdin.read()); sys.exit(7)\n")
    real.chmod(0o700)
    clients.install(tmp_path / "bin")
    env = {"PATH": f"{tmp_path / 'bin'}:{real.parent}", clients.ADDRESS_VARIABLE: ADDRESS}

    def run(program: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        argv = [str(tmp_path / "bin" / program), "push", f"{ECR}/web"]
        return subprocess.run(argv, env=env, input="secret", capture_output=True, text=True, check=False)

    assert (run("docker", env).returncode, run("docker", env).stdout) == (
        7,
        f"['push', '{ADDRESS}/web'] secret\n",
    )
    assert run("docker", {"PATH": env["PATH"]}).stdout == f"['push', '{ECR}/web'] secret\n"
    missing = run("skopeo", env)
    assert (missing.returncode, missing.stderr) == (1, "skopeo: command not found\n")


@pytest.mark.parametrize("kind", ["missing", "link", "script"])
def test_podman_replaces_docker(tmp_path: Path, kind: str) -> None:
    """Only podman needs the option for no TLS."""
    real = tmp_path / "real"
    real.mkdir()
    (real / "podman").write_text(f"#!{sys.executable}\nimport sys; print(sys.argv[1:])\n")
    (real / "podman").chmod(0o700)
    if kind == "link":
        (real / "docker").symlink_to("podman")
    elif kind == "script":
        (real / "docker").write_text('#!/bin/sh\nexec podman "$@"\n')
        (real / "docker").chmod(0o700)
    clients.install(tmp_path / "bin")
    env = {"PATH": f"{tmp_path / 'bin'}:{real}", clients.ADDRESS_VARIABLE: ADDRESS}

    done = subprocess.run(
        ["docker", "push", f"{ECR}/web"], env=env, capture_output=True, text=True, check=True
    )

    assert done.stdout == f"['push', '--tls-verify=false', '{ADDRESS}/web']\n"


@dataclass(frozen=True, kw_only=True)
class Shell:
    """A shell with the wrappers first on its PATH and separate credentials."""

    folder: Path
    account: Account

    @property
    def host(self) -> str:
        return f"{self.account.account_id}.dkr.ecr.{REGION}.amazonaws.com"

    def run(self, line: str) -> str:
        env = {
            **self.account.environment(),
            "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            clients.ADDRESS_VARIABLE: f"127.0.0.1:{self.account.server.port}",
            "REGISTRY_AUTH_FILE": str(self.folder / "auth.json"),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            env=env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds_left(),
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path, fresh: Account) -> Shell:
    clients.install(tmp_path / "bin")
    log_in(fresh, "mclass-server", imageTagMutability="IMMUTABLE")
    return Shell(folder=tmp_path, account=fresh)


@pytest.mark.slow
def test_skopeo_pushes_and_pulls_an_image_with_equal_digests(shell: Shell) -> None:
    need("skopeo")
    image = write_image(shell.folder / "made")
    shell.run(
        "aws ecr get-login-password --region ap-northeast-2"
        f" | skopeo login --username AWS --password-stdin {shell.host}"
    )
    there = f"docker://{shell.host}/mclass-server:v1"

    shell.run(f"skopeo copy --preserve-digests dir:made {there}")
    shell.run(f"skopeo copy --preserve-digests {there} dir:pulled")

    assert image.manifest == (shell.folder / "pulled" / "manifest.json").read_bytes()
    assert image.digest == json.loads(shell.run(f"skopeo inspect {there}"))["Digest"]
    assert [image.digest] == pushed(shell)


@pytest.mark.slow
def test_a_damaged_layer_is_refused_by_the_client_that_pulls_it(shell: Shell, server_home: Path) -> None:
    need("skopeo")
    image = write_image(shell.folder / "made")
    shell.run(
        "aws ecr get-login-password --region ap-northeast-2"
        f" | skopeo login --username AWS --password-stdin {shell.host}"
    )
    there = f"docker://{shell.host}/mclass-server:v1"
    shell.run(f"skopeo copy --preserve-digests dir:made {there}")
    blob = server_home / "registry" / "blobs" / "sha256" / digest_of(image.layer).removeprefix("sha256:")
    whole = blob.read_bytes()
    blob.write_bytes(whole.swapcase())
    try:
        with pytest.raises(AssertionError, match=r"[Dd]igest"):
            shell.run(f"skopeo copy {there} dir:pulled")
    finally:
        blob.write_bytes(whole)  # the server is shared


@pytest.mark.slow
def test_podman_runs_the_docker_commands_of_the_guide(shell: Shell) -> None:
    """Log in, tag and push as in step 3 of the guide; then pull."""
    need("podman")
    (shell.folder / "greeting").write_text("hello\n")
    (shell.folder / "Dockerfile").write_text("FROM scratch\nCOPY greeting /\n")
    podman = "podman --root store --runroot run --storage-driver vfs"
    there = f"{shell.host}/mclass-server"

    shell.run(
        f"aws ecr get-login-password --region ap-northeast-2"
        f" | {podman} login --username AWS --password-stdin {shell.host}"
    )
    shell.run(f"{podman} build -t mclass-server .")
    shell.run(f"{podman} tag mclass-server:latest {there}:latest")
    shell.run(f"{podman} push --digestfile digest {there}:latest")
    shell.run(f"{podman} rmi --all --force")
    shell.run(f"{podman} pull {there}:latest")

    pulled = shell.run(f"{podman} image inspect --format '{{{{.Digest}}}}' {there}:latest").strip()
    assert (shell.folder / "digest").read_text() == pulled
    assert [pulled] == pushed(shell)
    with pytest.raises(AssertionError, match="cannot be overwritten because the repository is immutable"):
        shell.run(f"{podman} push --format v2s2 {there}:latest")
    assert [pulled] == pushed(shell)


def pushed(shell: Shell) -> list[str]:
    """The digests in the repository, from ECR's API."""
    details = shell.account.client("ecr").describe_images(repositoryName="mclass-server")["imageDetails"]
    return [detail["imageDigest"] for detail in details]


def write_image(folder: Path) -> Image:
    """An image as skopeo reads it from a folder."""
    image = make_image()
    folder.mkdir()
    (folder / "manifest.json").write_bytes(image.manifest)
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    for blob in (image.layer, image.config):
        (folder / digest_of(blob).removeprefix("sha256:")).write_bytes(blob)
    return image

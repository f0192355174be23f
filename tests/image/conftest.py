"""The image, built once for all tests of this folder, by `mclass_tf build` with podman."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT, CommandLine
from tests.image.base_image import archive
from tests.image.podman import Podman, store
from tests.image.project import git, write_service
from tests.need import absent, need

BASE = "localhost/mclass-base:test"
DEFAULT_BASE = "docker.io/library/python:3.11-slim-bookworm"
BASE_VARIABLE = "MCLASS_TESTS_BASE"
"""Names a base image to pull instead of building one, if a registry is reachable."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """A built image: its id in podman's store, its digest, its layout, and its commit."""

    podman: Podman
    commands: CommandLine
    id: str
    digest: str
    layout: Path
    revision: str

    @property
    def manifest(self) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads(self._blob(self.digest))
        return found

    @property
    def configuration(self) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads(self._blob(self.manifest["config"]["digest"]))["config"]
        return found

    def _blob(self, digest: str) -> bytes:
        return (self.layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The locked dependencies, for builds without a package index."""
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        (
            *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--no-deps"),
            *("--python-version", "3.11", "--dest", str(folder), "--require-hashes"),
            *("--requirement", str(ROOT / "app" / "requirements.txt")),
        ),
        check=True,
    )
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the base image, so that every store has the same one."""
    need("podman", "runc")
    if os.geteuid() != 0:
        absent("podman", why="containers with a store of their own need root here: sudo")
    file = tmp_path_factory.mktemp("base") / "base.tar"
    given = os.environ.get(BASE_VARIABLE)
    with store() as podman:
        if given is None:
            need("debootstrap")
            podman("import", str(archive()), BASE)
        else:
            podman("pull", "--quiet", given)
            podman("tag", given, BASE)
        podman("save", "--quiet", "--format", "oci-archive", "--output", str(file), BASE)
    return file


def build(commands: CommandLine, podman: Podman, *, builder: str, wheels: Path) -> Image:
    """Build as a user does, with options for a machine without a registry and a package index."""
    document = commands.ok(
        *("build", "--json", "--builder", builder, "--build-arg", f"BASE={BASE}"),
        *("--build-arg", "PIP_NO_INDEX=1", "--build-context", f"wheels={wheels}"),
        **podman.env,
    ).document
    layout = Path(document["layout"])
    manifest = layout / "blobs" / "sha256" / document["digest"].removeprefix("sha256:")
    return Image(
        podman=podman,
        commands=commands,
        id=json.loads(manifest.read_text(encoding="utf-8"))["config"]["digest"].removeprefix("sha256:"),
        digest=document["digest"],
        layout=layout,
        revision=document["revision"],
    )


@pytest.fixture(scope="session")
def podman(base: Path) -> Iterator[Podman]:
    """A store that contains the base image."""
    with store() as podman:
        podman("load", "--quiet", "--input", str(base))
        yield podman


@pytest.fixture(scope="session")
def image(podman: Podman, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    project = write_service(tmp_path_factory.mktemp("project"))
    commands = CommandLine(project=project, home=project / "home")
    built = build(commands, podman, builder="podman", wheels=wheels)
    assert built.revision == git(project, "rev-parse", "HEAD")
    return built

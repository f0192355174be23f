"""The image, built once for all tests of this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.image.base_image import archive
from tests.image.podman import Podman

ROOT = Path(__file__).parents[2]
REVISION = "0123456789abcdef0123456789abcdef01234567"
_NEEDED = ("podman", "runc", "debootstrap")
_BASE = "localhost/mclass-base:test"


@dataclass(frozen=True, kw_only=True)
class Image:
    """The built image, and what is needed to build it again."""

    podman: Podman
    tag: str
    digest: str
    wheels: Path

    def build(self, context: Path, *, tag: str) -> str:
        """Build from another folder; return the digest."""
        return self.podman.build(context, base=_BASE, wheels=self.wheels, tag=tag, REVISION=REVISION)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not there: apt-get install {' '.join(_NEEDED)}")
    if os.geteuid() != 0:
        pytest.skip("debootstrap and the vfs store need root")
    # podman takes a run root of 50 characters at most, and pytest's folders for parallel workers are longer.
    podman = Podman(store=Path(tempfile.mkdtemp(prefix="mclass-")))
    try:
        podman("import", str(archive()), _BASE)
        wheels = tmp_path_factory.mktemp("wheels")
        subprocess.run(
            (
                *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--no-deps"),
                *("--python-version", "3.11", "--dest", str(wheels), "--require-hashes"),
                *("--requirement", str(ROOT / "app" / "requirements.txt")),
            ),
            check=True,
        )
        tag = "localhost/mclass-server:test"
        digest = podman.build(ROOT, base=_BASE, wheels=wheels, tag=tag, REVISION=REVISION)
        yield Image(podman=podman, tag=tag, digest=digest, wheels=wheels)
    finally:
        shutil.rmtree(podman.store)  # a gigabyte, of which pytest would keep three

"""Images for tests of drivers: the app's, built once per machine, and small handmade ones."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mclass_tf.image.builder import build
from mclass_tf.image.inputs import Inputs
from mclass_tf.image.layout import Image, Images
from mclass_tf.image.revision import Revision
from mclass_tf.system.process import run

ROOT = Path(__file__).parents[2]
TAR = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def app_image(**variables: str) -> Image:
    """Return the app's image from the built-in builder, with variables. Its layers are in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mclass-tf"
    cache.mkdir(parents=True, exist_ok=True)
    inputs = Inputs(project=ROOT, revision=Revision(name="unknown"), tag="test", variables=variables)
    with (cache / "test-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build(
            inputs,
            images=Images(cache / "test-images"),
            builder="builtin",
            may_use_builtin=True,
            env=os.environ,
            run=run,
            report=lambda _: None,
        )


@dataclass(frozen=True)
class Blobs:
    """A folder of blobs by digest, like the registry's store."""

    folder: Path

    def blob(self, digest: str) -> Path:
        return self.folder / digest.removeprefix("sha256:")

    def add(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blob(digest).write_bytes(data)
        return digest

    def take(self, image: Image) -> str:
        """Add all blobs of a built image; return its digest."""
        for digest in (image.digest, *(blob.digest for blob in image.blobs)):
            if not self.blob(digest).exists():
                os.link(image.path(digest), self.blob(digest))
        return image.digest

    def make(
        self,
        *layers: bytes,
        media_type: str = TAR,
        labels: Mapping[str, str] | None = None,
        **config: Any,
    ) -> str:
        """Create an image from layers, by default labelled as the built-in builder's."""
        document = {
            "architecture": "amd64",
            "os": sys.platform,
            "config": {
                "Entrypoint": ["python"],
                "Labels": {"mclass-tf.builder": "builtin"} if labels is None else labels,
                **config,
            },
        }
        parts = [{"mediaType": media_type, "digest": self.add(layer), "size": len(layer)} for layer in layers]
        configuration = self.add(json.dumps(document).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": configuration,
                "size": self.blob(configuration).stat().st_size,
            },
            "layers": parts,
        }
        return self.add(json.dumps(manifest).encode())


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of a layer: a file, unless `type` is set."""

    name: str
    content: bytes = b""
    link: str = ""
    type: bytes = tarfile.REGTYPE
    mode: int = 0o644
    headers: Mapping[str, str] = field(default_factory=dict)


def layer(*entries: Entry) -> bytes:
    """Return a tar of the entries, without validation."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type, info.mode, info.linkname = entry.type, entry.mode, entry.link
            info.size = len(entry.content)
            info.pax_headers = dict(entry.headers)
            archive.addfile(info, io.BytesIO(entry.content))
    return made.getvalue()


def script(text: str) -> Sequence[str]:
    """Return the command that runs a Python script."""
    return ("-c", text)

"""Writes an image as an archive that podman and docker load.

https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from mclass_tf.local.containers.driver import Images
from mclass_tf.local.containers.image import Image

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def write(image: Image, *, images: Images, path: Path, reference: str) -> None:
    """Write the archive to `path`. The image is loaded under the name `reference`."""
    manifest = images.blob(image.digest).read_bytes()
    entry = {
        "mediaType": json.loads(manifest).get("mediaType", _MANIFEST),
        "digest": image.digest,
        "size": len(manifest),
        # podman reads the first, docker the second.
        "annotations": {
            "org.opencontainers.image.ref.name": reference,
            "io.containerd.image.name": reference,
        },
    }
    index = {"schemaVersion": 2, "manifests": [entry]}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps(index).encode())
        for digest in dict.fromkeys((image.digest, image.config, *(layer.digest for layer in image.layers))):
            name = f"blobs/sha256/{digest.removeprefix('sha256:')}"
            with images.blob(digest).open("rb") as file:
                archive.addfile(archive.gettarinfo(arcname=name, fileobj=file), file)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))

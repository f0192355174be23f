"""Copies an image by digest from one repository to another: manifest, configuration and layers, byte for byte."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mclass_tf.errors import CorruptedImageError
from mclass_tf.image.layout import Descriptor
from mclass_tf.image.registry import Manifest, Registry


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What a copy came to; `sent` counts the bytes of blobs. Nothing `changed` where it was there under its tags."""

    digest: str
    tags: tuple[str, ...]
    sent: int
    changed: bool


def copy(
    source: Registry,
    destination: Registry,
    *,
    digest: str,
    tags: Sequence[str],
    folder: Path,
    go_on: Callable[[], None] = lambda: None,
) -> Copied:
    """Copy an image, and all images of an index, under the same digest; `tags` name it there.

    Before its manifest is there, nothing can be seen of it. `folder` is for what is on its way. `go_on` is asked before
    each blob, and may raise. Raises TagTakenError where a tag names another image, CorruptedImageError where bytes are not
    what their digest says.
    """
    missing = [tag for tag in tags if not destination.is_tagged(tag, digest)]
    if not missing:
        return Copied(digest=digest, tags=tuple(tags), sent=0, changed=False)
    with tempfile.TemporaryDirectory(prefix=".copy-", dir=folder) as place:
        manifest, sent = _copy(source, destination, digest, Path(place), go_on)
        for tag in missing:
            destination.put_manifest(manifest, reference=tag)
    return Copied(digest=digest, tags=tuple(tags), sent=sent, changed=True)


def _copy(
    source: Registry, destination: Registry, digest: str, place: Path, go_on: Callable[[], None]
) -> tuple[Manifest, int]:
    """Copy all that a manifest names; return the manifest, which is not there yet, and the bytes of blobs sent."""
    manifest = source.manifest(digest)
    found = f"sha256:{hashlib.sha256(manifest.data).hexdigest()}"
    if found != digest:
        raise CorruptedImageError(
            f"the manifest of {digest} came as {found}", hint="it was damaged on its way: try again"
        )
    document = json.loads(manifest.data)
    sent = 0
    for child in document.get("manifests", ()):
        inner, size = _copy(source, destination, child["digest"], place, go_on)
        destination.put_manifest(inner, reference=inner.digest)
        sent += size
    for blob in destination.missing(_blobs(document)):
        go_on()
        path = place / "blob"
        source.download(blob, path)
        destination.send(path, blob)
        sent += blob.size
    return manifest, sent


def _blobs(document: dict[str, Any]) -> tuple[Descriptor, ...]:
    """Return what a manifest names: nothing where it is an index."""
    parts = [document["config"], *document["layers"]] if "config" in document else []
    # Two layers may be the same; one with addresses of its own (a Windows base) is not in the repository.
    return tuple(dict.fromkeys(Descriptor.parse(part) for part in parts if not part.get("urls")))

"""Copies an image by digest from one repository to another: manifest, configuration and layers, byte for byte."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.errors import CorruptedImageError
from mclass_tf.image import documents
from mclass_tf.image.layout import Descriptor
from mclass_tf.image.registry import Manifest, Registry

_DRAFT = ".copy-"
_ABANDONED_SECONDS = 24 * 3600.0
_MOST_INDEXES = 4  # nested


@dataclass(frozen=True, kw_only=True)
class CopyResult:
    """The result of a copy. `sent` counts bytes of blobs. `changed` is False if the image already had its tags."""

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
    before_blob: Callable[[], None] = lambda: None,
) -> CopyResult:
    """Copy an image, or an index with all of its images, under the same digest, and tag it with `tags`.

    The manifest is put last, so a partial copy is invisible. `folder` is for temporary files. `before_blob` is called before
    each blob and may raise. Raises TagTakenError if a tag names another image, CorruptedImageError if bytes do not match their
    digest.
    """
    missing = [tag for tag in tags if not destination.is_tagged(tag, digest)]
    if not missing:
        return CopyResult(digest=digest, tags=tuple(tags), sent=0, changed=False)
    _forget_abandoned(folder)
    with tempfile.TemporaryDirectory(prefix=_DRAFT, dir=folder) as draft:
        manifest, sent = _copy(source, destination, digest, Path(draft), before_blob, levels=_MOST_INDEXES)
        for tag in missing:
            destination.put_manifest(manifest, reference=tag)
    return CopyResult(digest=digest, tags=tuple(tags), sent=sent, changed=True)


def _forget_abandoned(folder: Path) -> None:
    """Remove the leftovers of killed copies."""
    for path in folder.glob(f"{_DRAFT}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _copy(
    source: Registry,
    destination: Registry,
    digest: str,
    draft: Path,
    before_blob: Callable[[], None],
    *,
    levels: int,
) -> tuple[Manifest, int]:
    """Copy everything that a manifest names; return the manifest, which is not put yet, and the bytes of blobs sent.

    `levels` is how many nested indexes are still allowed.
    """
    manifest = source.manifest(digest)
    actual = f"sha256:{hashlib.sha256(manifest.data).hexdigest()}"
    if actual != digest:
        raise CorruptedImageError(
            f"the manifest of {digest} came as {actual}", hint="it was damaged on its way: try again"
        )
    document = _parsed(manifest, levels=levels)
    sent = 0
    for child in dict.fromkeys(part.digest for part in document.manifests):
        inner, size = _copy(source, destination, child, draft, before_blob, levels=levels - 1)
        destination.put_manifest(inner, reference=inner.digest)
        sent += size
    for blob in destination.missing(_blobs(document)):
        before_blob()
        path = draft / "blob"
        source.download(blob, path)
        destination.send(path, blob)
        sent += blob.size
    return manifest, sent


def _parsed(manifest: Manifest, *, levels: int) -> documents.Manifest:
    try:
        document = documents.manifest(manifest.data)
    except documents.MalformedError as error:
        raise _no_image(manifest, str(error)) from None
    if document.manifests and not levels:
        raise _no_image(manifest, "it is an index within an index, without an end")
    return document


def _no_image(manifest: Manifest, why: str) -> CorruptedImageError:
    return CorruptedImageError(
        f"the manifest {manifest.digest} cannot be copied: {why}",
        hint="whoever pushed it pushed no image: build the image again, and push it",
    )


def _blobs(document: documents.Manifest) -> tuple[Descriptor, ...]:
    """Return the blobs of a manifest; an index has none."""
    parts = () if document.config is None else (document.config, *document.layers)
    # Two layers may be identical. A layer with URLs (a Windows base) is not in the repository.
    return tuple(dict.fromkeys(Descriptor.of(part) for part in parts if not part.urls))

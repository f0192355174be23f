"""Stores images on disk as OCI image layouts, in a folder per digest.

https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mclass_tf.errors import BuilderError, CorruptedImageError, Hint, NoImageError
from mclass_tf.image import documents
from mclass_tf.image.revision import Revision
from mclass_tf.system import machine

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEXES = frozenset(
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"]
)
BUILDER = "mclass-tf.builder"
"""Manifest annotation and configuration label that name our builder."""
_TAG = "org.opencontainers.image.ref.name"
REVISION = "org.opencontainers.image.revision"
"""Annotation and label of the git revision: https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md ."""
_MOST_INDEXES = 4  # nested
_KEPT = 5
_DRAFT = ".draft-"
_DRAFT_SECONDS = 24 * 3600.0
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PIECE = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    media_type: str
    digest: str
    size: int

    @classmethod
    def of(cls, part: documents.Part) -> Descriptor:
        return cls(media_type=part.media_type, digest=part.digest, size=part.size)

    def to_json(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, kw_only=True)
class Image:
    """A built image. `tag` is its tag when pushed. `blobs` are the configuration and layers."""

    folder: Path
    manifest: Descriptor
    blobs: tuple[Descriptor, ...]
    tag: str
    revision: str
    builder: str

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def size(self) -> int:
        """Bytes of configuration and layers."""
        return sum(blob.size for blob in self.blobs)

    @property
    def is_builtin(self) -> bool:
        """Whether the built-in builder made it, for the local AWS of this machine only."""
        manifest = _manifest(self.path(self.digest))
        return (manifest.annotations or {}).get(BUILDER) == "builtin"

    @property
    def platform(self) -> documents.Platform:
        """The platform of the configuration. Raise CorruptedImageError if it cannot be read."""
        path = self.path(self.blobs[0].digest)
        try:
            return documents.configuration(documents.read(path)).platform
        except (documents.MalformedError, FileNotFoundError) as error:
            raise _damaged(path, str(error)) from None

    def path(self, digest: str) -> Path:
        return blob_path(self.folder, digest)

    def verify(self, blob: Descriptor) -> None:
        """Raise CorruptedImageError if the file does not match its digest."""
        path = self.path(blob.digest)
        try:
            actual = digest_of_file(path)
        except FileNotFoundError:
            raise _damaged(path, "it is gone") from None
        if actual != blob.digest:
            raise _damaged(path, f"its digest is {actual}")


def blob_path(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _damaged(path: Path, why: str) -> CorruptedImageError:
    return CorruptedImageError(f"{path} is damaged: {why}", hint=Hint("build the image again: ", ("build",)))


def digest_of_file(path: Path) -> str:
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            seen.update(piece)
    return f"sha256:{seen.hexdigest()}"


@dataclass(frozen=True)
class Images:
    """The images built here, in one folder, which the user may delete at any time."""

    folder: Path

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Yield a temporary folder to build a layout in."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget_drafts()
        path = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self.folder))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def keep(self, layout: Path, *, tag: str | None, revision: Revision, builder: str) -> Image:
        """Store a finished layout atomically, as the latest image."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        manifest = _only_manifest(layout)
        notes = {_TAG: tag or revision.tag(manifest.digest), REVISION: revision.name, BUILDER: builder}
        index = {"schemaVersion": 2, "manifests": [{**manifest.to_json(), "annotations": notes}]}
        (layout / "index.json").write_text(json.dumps(index), encoding="utf-8")
        name = manifest.digest.removeprefix("sha256:")
        kept = replace(_read(layout), folder=self.folder / name)
        os.utime(layout)
        # Replace an existing folder: it is the same image, or damaged.
        self.put(layout, kept.folder)
        draft = self.folder / f".latest-{os.getpid()}"
        draft.write_text(name, encoding="ascii")
        draft.replace(self.folder / "latest")
        self._prune(keep=name)
        return kept

    def put(self, folder: Path, path: Path) -> None:
        """Move a finished folder to `path`, replacing it, unless a concurrent build of the same image is faster."""
        with self._aside(path):
            try:
                folder.rename(path)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise

    @contextmanager
    def _aside(self, path: Path) -> Iterator[None]:
        """Rename a folder before deleting it, so that a kill in between leaves no half-deleted image."""
        with self.draft() as aside:
            with suppress(FileNotFoundError):
                path.rename(aside / "old")
            yield

    def latest(self) -> Image:
        """Return the image that was built last; raise NoImageError."""
        try:
            name = (self.folder / "latest").read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            raise NoImageError("there is no image yet", hint=Hint("build one: ", ("build",))) from None
        return self.read(f"sha256:{name}")

    def read(self, digest: str) -> Image:
        """Return the image with this digest; raise NoImageError."""
        if not _DIGEST.fullmatch(digest):
            raise NoImageError(
                f"{digest} is no digest of an image", hint="it is sha256: and 64 hexadecimal digits"
            )
        try:
            return _read(self.folder / digest.removeprefix("sha256:"))
        except FileNotFoundError:
            raise NoImageError(
                f"the image {digest} is not on this machine", hint=Hint("build it: ", ("build",))
            ) from None

    def _forget_drafts(self) -> None:
        """Remove the leftovers of killed builds."""
        for path in self.folder.glob(f"{_DRAFT}*"):
            if time.time() - _modified(path) > _DRAFT_SECONDS:
                shutil.rmtree(path, ignore_errors=True)

    def _prune(self, *, keep: str) -> None:
        layouts = sorted(
            (path for path in self.folder.glob("[0-9a-f]*") if (path / "oci-layout").is_file()),
            key=_modified,
            reverse=True,
        )
        for path in layouts[_KEPT:]:
            if path.name != keep:
                with self._aside(path):
                    pass


def _read(folder: Path) -> Image:
    """Read a stored image; raise CorruptedImageError if its index or manifest is damaged."""
    index = _manifest(folder / "index.json")
    if len(index.manifests) != 1:
        raise _damaged(folder / "index.json", f"it names {len(index.manifests)} images")
    (entry,) = index.manifests
    notes = entry.annotations or {}
    if not notes.keys() >= {_TAG, REVISION, BUILDER}:
        raise _damaged(folder / "index.json", "it does not say what the image was built from")
    image = Image(
        folder=folder,
        manifest=Descriptor.of(entry),
        blobs=(),
        tag=notes[_TAG],
        revision=notes[REVISION],
        builder=notes[BUILDER],
    )
    image.verify(image.manifest)
    document = _manifest(image.path(image.digest))
    if document.config is None:
        raise _damaged(image.path(image.digest), "it names no configuration")
    # Two layers may be identical.
    parts = dict.fromkeys(Descriptor.of(part) for part in (document.config, *document.layers))
    return replace(image, blobs=tuple(parts))


def _manifest(path: Path) -> documents.Manifest:
    """Read a manifest or index of a stored image; raise CorruptedImageError or OSError."""
    try:
        return documents.manifest(documents.read(path))
    except documents.MalformedError as error:
        raise _damaged(path, str(error)) from None


def _modified(path: Path) -> float:
    """Return the time of the last change; 0 if another build has removed the folder."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def configuration(layout: Path) -> documents.Configuration:
    """Return the configuration of the only image in a builder's layout; raise BuilderError."""
    path = blob_path(layout, _only_manifest(layout).digest)
    try:
        config = documents.manifest(documents.read(path)).config
        if config is None:
            raise _unreadable(path, "it names no configuration")
        path = blob_path(layout, config.digest)
        return documents.configuration(documents.read(path))
    except (documents.MalformedError, OSError) as error:
        raise machine.shortage(error) or _unreadable(path, str(error)) from None


def _only_manifest(layout: Path) -> Descriptor:
    """Return the only image in a layout. Docker wraps it into an index, with attestations for no platform."""
    path = layout / "index.json"
    for _ in range(_MOST_INDEXES):
        try:
            entries = documents.manifest(documents.read(path)).manifests
        except (documents.MalformedError, OSError) as error:
            raise machine.shortage(error) or _unreadable(path, str(error)) from None
        images = [
            entry for entry in entries if entry.platform is None or entry.platform.architecture != "unknown"
        ]
        if len(images) != 1:
            raise BuilderError(
                f"the builder made {len(images)} images where one was expected", hint="build for one platform"
            )
        if images[0].media_type not in _INDEXES:
            return Descriptor.of(images[0])
        path = blob_path(layout, images[0].digest)
    raise _unreadable(path, "it is an index within an index, without an end")


def _unreadable(path: Path, why: str) -> BuilderError:
    return BuilderError(
        f"the builder wrote {path.name}, which cannot be read: {why}",
        hint="build again; if it stays so, take another builder: --builder docker, podman or buildah",
    )

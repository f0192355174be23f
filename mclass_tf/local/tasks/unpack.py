"""Unpacks the layers of an image into a folder, out of which nothing in them may lead.

https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from mclass_tf.local.tasks.driver import Images, PullError
from mclass_tf.local.tasks.image import Image, Layer

_PLAIN = frozenset(["application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"])
_GZIP = frozenset(
    ["application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"]
)
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_LINKS = 40  # that Linux follows in one path
_PIECE = 1024 * 1024
LARGEST = 20 * 1024**3
"""What a Fargate task has on its disk by default, in bytes."""


def unpack(image: Image, *, images: Images, root: Path, largest: int = LARGEST) -> None:
    """Unpack into `root`, which is new and empty; raise PullError. In the end nothing in it may be written to."""
    tree = _Tree(root=root, left=largest)
    for layer in image.layers:
        with _told(layer), _opened(layer, images=images) as archive:
            tree.apply(archive)
    _protect(root)


def remove(root: Path) -> None:
    """Remove what was unpacked, or of it what there is."""
    for folder, _, _ in os.walk(root):
        with contextlib.suppress(OSError):
            Path(folder).chmod(0o700)
    shutil.rmtree(root, ignore_errors=True)


def inside(root: Path, path: str) -> Path:
    """Return where `path` of the image is below `root`, as a process sees it whose root that is; it need not exist."""
    found: list[str] = []
    rest = [part for part in reversed(PurePosixPath(path).parts) if part != "/"]
    links = 0
    while rest:
        part = rest.pop()
        if part == "..":
            del found[-1:]
            continue
        place = root.joinpath(*found, part)
        if not place.is_symlink():
            found.append(part)
            continue
        links += 1
        if links > _LINKS:
            raise PullError(f"too many levels of symbolic links in {path}")
        target = PurePosixPath(place.readlink())
        if target.is_absolute():
            found.clear()
        rest += [word for word in reversed(target.parts) if word != "/"]
    return root.joinpath(*found)


class _Tree:
    """The files so far. Every path of a layer is taken as one below the root, links in it included."""

    def __init__(self, *, root: Path, left: int) -> None:
        self._root = root
        self._left = left
        self._added: set[Path] = set()

    def apply(self, archive: tarfile.TarFile) -> None:
        """Lay one layer over those before it."""
        self._added = {self._root}
        for entry in archive:
            name = PurePosixPath("/", entry.name)
            if ".." in name.parts or "\0" in entry.name:
                raise PullError(f"the layer leads out of the image: {entry.name!r}")
            if name.name == _OPAQUE:
                self._hide_all(inside(self._root, str(name.parent)))
            elif name.name.startswith(_WHITEOUT):
                self._hide(inside(self._root, str(name.parent)) / name.name.removeprefix(_WHITEOUT))
            elif name.name:
                self._add(entry, inside(self._root, str(name.parent)) / name.name, archive)

    def _hide(self, place: Path) -> None:
        """A whiteout takes away what the layers below have, not what its own layer adds."""
        if place.name not in {"", ".", ".."} and place.parent != place and place not in self._added:
            _delete(place)

    def _hide_all(self, folder: Path) -> None:
        if folder.is_symlink() or not folder.is_dir():
            return
        for place in folder.iterdir():
            if place not in self._added:
                _delete(place)
            elif place.is_dir() and not place.is_symlink():
                self._hide_all(place)

    def _add(self, entry: tarfile.TarInfo, place: Path, archive: tarfile.TarFile) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not (entry.isdir() and place.is_dir() and not place.is_symlink()):
            _delete(place)
        if entry.isdir():
            place.mkdir(exist_ok=True)
        elif entry.issym():
            place.symlink_to(self._relative(entry.linkname, place))
        elif entry.islnk():
            self._link(entry, place)
        elif entry.isreg():
            self._write(entry, place, archive)
        else:  # a device or a pipe: a process without privileges has no use of it
            return
        while place not in self._added:
            self._added.add(place)
            place = place.parent

    def _relative(self, target: str, place: Path) -> str:
        """The target of a link from the link's own folder on, without a way that leads above the root."""
        here = PurePosixPath("/", place.parent.relative_to(self._root))
        wanted = PurePosixPath(os.path.normpath(here / target))
        return os.path.relpath("/" + str(wanted).lstrip("/"), here)

    def _link(self, entry: tarfile.TarInfo, place: Path) -> None:
        named = PurePosixPath("/", entry.linkname)
        source = inside(self._root, str(named.parent)) / named.name
        if ".." in named.parts or source.is_symlink() or not source.is_file():
            raise PullError(
                f"the layer links {entry.name!r} to {entry.linkname!r}, which is no file of the image"
            )
        os.link(source, place)

    def _write(self, entry: tarfile.TarInfo, place: Path, archive: tarfile.TarFile) -> None:
        self._left -= entry.size
        if self._left < 0:
            raise PullError("no space left on device: the image is larger than the disk of a task")
        content = archive.extractfile(entry)
        if content is None:
            raise PullError(f"the layer has no content for {entry.name!r}")
        with place.open("xb") as file:
            shutil.copyfileobj(content, file, _PIECE)
        place.chmod(entry.mode & 0o777 | 0o600)


class _Hashing:
    """A layer's blob that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._hash.update(piece)
        return piece

    def digest(self) -> str:
        """Read what is left, and return the digest of all."""
        while self.read(_PIECE):
            pass
        return f"sha256:{self._hash.hexdigest()}"


@contextlib.contextmanager
def _opened(layer: Layer, *, images: Images) -> Iterator[tarfile.TarFile]:
    """The layer's entries, in their order; its bytes have been verified when it is closed."""
    if layer.media_type not in _PLAIN | _GZIP:
        kind = layer.media_type.rpartition("+")[2] if "+" in layer.media_type else layer.media_type
        raise PullError(
            f"it is compressed by {kind}, which the local AWS cannot unpack; push it compressed by gzip"
        )
    with images.blob(layer.digest).open("rb") as file:
        hashing = _Hashing(file)
        source = cast("IO[bytes]", hashing)
        if layer.media_type in _GZIP:
            source = cast("IO[bytes]", gzip.GzipFile(fileobj=source, mode="rb"))
        # `|`: the stream is read once, from its beginning to its end.
        with tarfile.open(fileobj=source, mode="r|", errorlevel=2) as archive:
            yield archive
        found = hashing.digest()
    if found != layer.digest:
        raise PullError(f"its digest is {found}")


@contextlib.contextmanager
def _told(layer: Layer) -> Iterator[None]:
    """Name the layer in whatever is wrong with it."""
    try:
        yield
    except PullError as error:
        raise PullError(f"failed to register layer {layer.digest}: {error}") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError, UnicodeError, ValueError) as error:
        raise PullError(f"failed to register layer {layer.digest}: {error}") from None


def _delete(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _protect(root: Path) -> None:
    """All tasks of the image share the files: none may write to them, where the user's rights can say so."""
    for folder, _, names in os.walk(root):
        for name in names:
            place = Path(folder, name)
            if not place.is_symlink():
                place.chmod(place.stat().st_mode & 0o555)
        Path(folder).chmod(0o555)

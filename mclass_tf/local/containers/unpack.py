"""Unpacks the layers of an image into a folder, out of which nothing in them may lead.

https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self, cast

from mclass_tf.local.containers.driver import Images, PullError
from mclass_tf.local.containers.image import Image, Layer

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
MOST_ENTRIES = 200_000
DEEPEST = 64
"""Folders that stand in each other: what the built-in builder lays out has a dozen."""
_LARGEST_HEADER = 16 * 1024  # bytes: a path and the target of a link have 4096 each
# Some versions of Python take time for a header that grows with the square of its length: CVE-2024-6232.
_MOST_FOR_HEADERS = 32 * _LARGEST_HEADER**2
_BETWEEN_ENTRIES = 64 * 1024
_BEFORE_ENTRIES = frozenset(
    [
        tarfile.GNUTYPE_LONGLINK,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.XHDTYPE,
    ]
)


def unpack(image: Image, *, images: Images, root: Path, largest: int = LARGEST) -> None:
    """Unpack into `root`, which is new and empty; raise PullError. In the end nothing in it is writable."""
    tree, headers = _Tree(root=root, left=largest), _Headers()
    for layer in image.layers:
        with _explained(layer), _opened(layer, images=images, headers=headers) as archive:
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
    return Path(_inside(str(root), path))


def _inside(root: str, path: str) -> str:
    resolved: list[str] = []
    rest = _parts(path)[::-1]
    links = 0
    while rest:
        part = rest.pop()
        if part == "..":
            del resolved[-1:]
            continue
        target = _target("/".join([root, *resolved, part]))
        if target is None:
            resolved.append(part)
            continue
        links += 1
        if links > _LINKS:
            raise PullError(f"too many levels of symbolic links in {path}")
        if target.startswith("/"):
            resolved.clear()
        rest += _parts(target)[::-1]
    return "/".join([root, *resolved])


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _target(place: str) -> str | None:
    """Return where a symbolic link leads; None for anything else."""
    try:
        return os.readlink(place)  # noqa: PTH115  a hundred thousand times: Path takes ten times as long
    except OSError:
        return None


class _Tree:
    """The files so far. Every path of a layer is taken as one below the root, links in it included."""

    def __init__(self, *, root: Path, left: int) -> None:
        self._root = str(root)
        self._left = left
        self._entries_left = MOST_ENTRIES
        # Where folders of the layers are, by their names there, and which of these places exist: forgotten when a link
        # comes, or when a link or a folder goes.
        self._resolved: dict[str, str] = {}
        self._made: set[str] = set()
        self._added: set[str] = set()
        self._emptied: set[str] = set()

    def apply(self, archive: _Archive) -> None:
        """Apply a layer on top of those before it."""
        self._added, self._emptied = {self._root}, set()
        for entry in archive.entries():
            self._require_room(entry)
            parts = _parts(entry.name)
            if ".." in parts or "\0" in entry.name:
                raise PullError(f"the layer leads out of the image: {entry.name!r}")
            if parts:
                self._apply(entry, parts, archive)

    def _apply(self, entry: tarfile.TarInfo, parts: list[str], archive: _Archive) -> None:
        folder, name = self._folder(parts[:-1]), parts[-1]
        if name == _OPAQUE:
            self._hide_all(folder)
        elif name.startswith(_WHITEOUT):
            self._hide(folder, name.removeprefix(_WHITEOUT))
        else:
            self._add(entry, folder, f"{folder}/{name}", archive)

    def _require_room(self, entry: tarfile.TarInfo) -> None:
        self._left -= entry.size
        self._entries_left -= 1
        if self._left < 0:
            raise PullError("no space left on device: the image is larger than the disk of a task")
        if self._entries_left < 0:
            raise PullError(f"the image has more than {MOST_ENTRIES} files and folders")
        if entry.issparse():
            raise PullError(f"{entry.name!r} is a sparse file, which the local AWS cannot unpack")

    def _folder(self, parts: list[str]) -> str:
        """Return where a folder of the image is, whether it exists or not."""
        name = "/".join(parts)
        place = self._resolved.get(name)
        if place is None:
            place = _inside(self._root, name)
            if place.count("/") - self._root.count("/") > DEEPEST:
                raise PullError(f"{name[:64]!r}… is more than {DEEPEST} folders deep")
            self._resolved[name] = place
        return place

    def _hide(self, folder: str, name: str) -> None:
        """Apply a whiteout: it removes what the layers below have, not what its own layer adds."""
        place = f"{folder}/{name}"
        if name not in {"", ".", ".."} and place not in self._added:
            self._delete(place)

    def _hide_all(self, folder: str) -> None:
        """Take away what the layers below have in a folder: once in a layer, which brings none of it back."""
        if folder in self._emptied or _mode(folder) is None or not stat.S_ISDIR(_mode(folder) or 0):
            return
        self._emptied.add(folder)
        with os.scandir(folder) as entries:
            places = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for place, is_folder in places:
            if place not in self._added:
                self._delete(place)
            elif is_folder:
                self._hide_all(place)

    def _add(self, entry: tarfile.TarInfo, folder: str, place: str, archive: _Archive) -> None:
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103  as above
            self._made.add(folder)
        mode = _mode(place)
        is_kept = mode is not None and entry.isdir() and stat.S_ISDIR(mode)
        if mode is not None and not is_kept:
            self._delete(place)
        if entry.isdir():
            os.makedirs(place, exist_ok=True)  # noqa: PTH103
        elif entry.issym():
            os.symlink(self._relative(entry.linkname, place), place)  # noqa: PTH211
            self._forget()
        elif entry.islnk():
            self._link(entry, place)
        elif entry.isreg():
            archive.write(entry, place)
        else:  # a device or a pipe: a process without privileges has no use of it
            return
        while place not in self._added:
            self._added.add(place)
            place = place.rpartition("/")[0]

    def _relative(self, target: str, place: str) -> str:
        """Return the target of a link from the link's own folder on, without a way that leads above the root."""
        here = place.rpartition("/")[0].removeprefix(self._root) or "/"
        absolute = os.path.normpath(f"{here}/{target}" if not target.startswith("/") else target)
        return os.path.relpath("/" + absolute.lstrip("/"), here)

    def _link(self, entry: tarfile.TarInfo, place: str) -> None:
        named = _parts(entry.linkname)
        source = f"{self._folder(named[:-1])}/{named[-1]}" if named else self._root
        if ".." in named or not stat.S_ISREG(_mode(source) or 0):
            raise PullError(
                f"the layer links {entry.name!r} to {entry.linkname!r}, which is no file of the image"
            )
        os.link(source, place)

    def _delete(self, place: str) -> None:
        mode = _mode(place)
        if mode is None:
            return
        if stat.S_ISDIR(mode):
            shutil.rmtree(place)
        else:
            os.unlink(place)  # noqa: PTH108
        if not stat.S_ISREG(mode):
            self._forget()

    def _forget(self) -> None:
        self._resolved.clear()
        self._made.clear()


def _mode(place: str) -> int | None:
    """Return the mode of what is there, links not followed; None where nothing is."""
    try:
        return os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


class _Headers:
    """The headers of an image that stand before entries, with what does not fit into theirs: bounded, since they are parsed in memory."""

    def __init__(self) -> None:
        self._left = _MOST_FOR_HEADERS

    def entry_type(self) -> type[tarfile.TarInfo]:
        """Return the class of entries of a layer, which is asked before anything that its header announces is read."""
        headers = self

        class Entry(tarfile.TarInfo):
            @classmethod
            def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
                entry = super().frombuf(buf, encoding, errors)
                headers.require_room(entry)
                return entry

        return Entry

    def require_room(self, entry: tarfile.TarInfo) -> None:
        if entry.size < 0:
            raise PullError(f"the layer has an entry of {entry.size} bytes")
        if entry.type == tarfile.GNUTYPE_SPARSE:
            raise PullError(f"{entry.name!r} is a sparse file, which the local AWS cannot unpack")
        if entry.type not in _BEFORE_ENTRIES:
            return
        self._left -= entry.size**2
        if entry.size > _LARGEST_HEADER or self._left < 0:
            raise PullError(f"the layer has a header of {entry.size} bytes, or too many of them")


class _Source:
    """The bytes of a layer, of which no more are read for the next entry than its headers may have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = 0

    def allow(self, size: int) -> None:
        """Give room for the content of an entry."""
        self._left = size + _BETWEEN_ENTRIES

    def allow_next(self) -> None:
        """Give room for another entry, beside what was not read of the last one."""
        self._left += _BETWEEN_ENTRIES

    def read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise PullError("the layer has headers without an end")
        return self._file.read(size)


class _Archive:
    """The entries of a layer, in their order."""

    def __init__(self, file: IO[bytes], *, headers: _Headers) -> None:
        self._source = _Source(file)
        self._source.allow(0)
        # `|`: the stream is read once, from its beginning to its end.
        self._tar = tarfile.open(  # noqa: SIM115  it holds no more than the file that it is given
            fileobj=cast("IO[bytes]", self._source), mode="r|", errorlevel=2, tarinfo=headers.entry_type()
        )

    def entries(self) -> Iterator[tarfile.TarInfo]:
        while (entry := self._tar.next()) is not None:
            self._tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them until its end
            self._source.allow(entry.size)
            yield entry
            self._source.allow_next()

    def write(self, entry: tarfile.TarInfo, place: str) -> None:
        """Write a file that may be read by its owner, and executed where the layer says so: tasks share it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(place, flags, 0o600)
        with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123  no path: a descriptor
            content = self._tar.extractfile(entry) if entry.size else None
            if content is not None:
                shutil.copyfileobj(content, file, _PIECE)
            os.fchmod(descriptor, entry.mode & 0o555 | 0o400)


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
def _opened(layer: Layer, *, images: Images, headers: _Headers) -> Iterator[_Archive]:
    """Return the layer's entries, in their order; its bytes have been verified when it is closed."""
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
        yield _Archive(source, headers=headers)
        digest = hashing.digest()
    if digest != layer.digest:
        raise PullError(f"its digest is {digest}")


@contextlib.contextmanager
def _explained(layer: Layer) -> Iterator[None]:
    """Name the layer in whatever is wrong with it."""
    try:
        yield
    except PullError as error:
        raise PullError(f"failed to register layer {layer.digest}: {error}") from None
    except RecursionError:
        raise PullError(f"failed to register layer {layer.digest}: it has headers without an end") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError, UnicodeError, ValueError) as error:
        raise PullError(f"failed to register layer {layer.digest}: {error}") from None


def _protect(root: Path) -> None:
    """Make the folders read-only as far as permissions can: all tasks of the image share them."""
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o555)

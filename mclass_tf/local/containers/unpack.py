"""Unpacks the layers of an image into a folder, from which no path or link in them can escape.

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
_LINKS = 40  # as many as Linux follows in one path
_PIECE = 1024 * 1024
LARGEST = 20 * 1024**3
"""Bytes of a Fargate task's default ephemeral storage."""
MOST_ENTRIES = 200_000
DEEPEST = 64
"""Nested folders. Images of the built-in builder have about a dozen levels."""
_LARGEST_HEADER = 16 * 1024  # bytes: a path and a link target have at most 4096 each
# Some versions of Python parse a header in quadratic time: CVE-2024-6232.
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
    """Unpack into `root`, an empty folder, and make everything in it read-only; raise PullError."""
    tree, headers = _Tree(root=root, left=largest), _Headers()
    for layer in image.layers:
        with _naming_layer(layer), _open_layer(layer, images=images, headers=headers) as archive:
            tree.apply(archive)
    _protect(root)


def remove(root: Path) -> None:
    """Remove an unpacked image, even if it is incomplete."""
    for folder, _, _ in os.walk(root):
        with contextlib.suppress(OSError):
            Path(folder).chmod(0o700)
    shutil.rmtree(root, ignore_errors=True)


def inside(root: Path, path: str) -> Path:
    """Resolve a path of the image below `root`, as if `root` were the root directory. The path need not exist."""
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


def _target(path: str) -> str | None:
    """Return the target of a symbolic link; None for anything else."""
    try:
        return os.readlink(path)  # noqa: PTH115  called 100,000 times, and Path is ten times slower
    except OSError:
        return None


class _Tree:
    """The files unpacked so far. All paths of layers, including links in them, are resolved below the root."""

    def __init__(self, *, root: Path, left: int) -> None:
        self._root = str(root)
        self._left = left
        self._entries_left = MOST_ENTRIES
        # Caches of resolved and of existing folders. Cleared when a link is added, or a link or folder removed.
        self._resolved: dict[str, str] = {}
        self._made: set[str] = set()
        self._added: set[str] = set()
        self._emptied: set[str] = set()

    def apply(self, archive: _Archive) -> None:
        """Apply a layer on top of the earlier ones."""
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
        """Return the resolved path of a folder of the image, which need not exist."""
        name = "/".join(parts)
        path = self._resolved.get(name)
        if path is None:
            path = _inside(self._root, name)
            if path.count("/") - self._root.count("/") > DEEPEST:
                raise PullError(f"{name[:64]!r}… is more than {DEEPEST} folders deep")
            self._resolved[name] = path
        return path

    def _hide(self, folder: str, name: str) -> None:
        """Apply a whiteout, which removes files of lower layers, but not those that its own layer adds."""
        path = f"{folder}/{name}"
        if name not in {"", ".", ".."} and path not in self._added:
            self._delete(path)

    def _hide_all(self, folder: str) -> None:
        """Apply an opaque whiteout: remove what lower layers have in a folder, once per layer."""
        if folder in self._emptied or _mode(folder) is None or not stat.S_ISDIR(_mode(folder) or 0):
            return
        self._emptied.add(folder)
        with os.scandir(folder) as entries:
            paths = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for path, is_folder in paths:
            if path not in self._added:
                self._delete(path)
            elif is_folder:
                self._hide_all(path)

    def _add(self, entry: tarfile.TarInfo, folder: str, path: str, archive: _Archive) -> None:
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103  as above
            self._made.add(folder)
        mode = _mode(path)
        is_supervised = mode is not None and entry.isdir() and stat.S_ISDIR(mode)
        if mode is not None and not is_supervised:
            self._delete(path)
        if entry.isdir():
            os.makedirs(path, exist_ok=True)  # noqa: PTH103
        elif entry.issym():
            os.symlink(self._relative(entry.linkname, path), path)  # noqa: PTH211
            self._clear_caches()
        elif entry.islnk():
            self._link(entry, path)
        elif entry.isreg():
            archive.write(entry, path)
        else:  # a device or a pipe, which an unprivileged process does not need
            return
        while path not in self._added:
            self._added.add(path)
            path = path.rpartition("/")[0]

    def _relative(self, target: str, path: str) -> str:
        """Return the target of a link relative to the link's folder, without escaping the root."""
        here = path.rpartition("/")[0].removeprefix(self._root) or "/"
        absolute = os.path.normpath(f"{here}/{target}" if not target.startswith("/") else target)
        return os.path.relpath("/" + absolute.lstrip("/"), here)

    def _link(self, entry: tarfile.TarInfo, path: str) -> None:
        named = _parts(entry.linkname)
        source = f"{self._folder(named[:-1])}/{named[-1]}" if named else self._root
        if ".." in named or not stat.S_ISREG(_mode(source) or 0):
            raise PullError(
                f"the layer links {entry.name!r} to {entry.linkname!r}, which is no file of the image"
            )
        os.link(source, path)

    def _delete(self, path: str) -> None:
        mode = _mode(path)
        if mode is None:
            return
        if stat.S_ISDIR(mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)  # noqa: PTH108
        if not stat.S_ISREG(mode):
            self._clear_caches()

    def _clear_caches(self) -> None:
        self._resolved.clear()
        self._made.clear()


def _mode(path: str) -> int | None:
    """Return the mode without following links; None if nothing exists there."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


class _Headers:
    """Limits the extension headers of an image, such as long names, because tarfile parses them in memory."""

    def __init__(self) -> None:
        self._left = _MOST_FOR_HEADERS

    def entry_type(self) -> type[tarfile.TarInfo]:
        """Return a TarInfo class that checks each header before tarfile reads what the header announces."""
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
    """The bytes of a layer. Limits how many are read for the headers of the next entry."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = 0

    def allow(self, size: int) -> None:
        """Allow reading the content of an entry, of `size` bytes."""
        self._left = size + _BETWEEN_ENTRIES

    def allow_next(self) -> None:
        """Allow reading the next header, besides the unread rest of the last entry."""
        self._left += _BETWEEN_ENTRIES

    def read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise PullError("the layer has headers without an end")
        return self._file.read(size)


class _Archive:
    """The entries of a layer, in order."""

    def __init__(self, file: IO[bytes], *, headers: _Headers) -> None:
        self._source = _Source(file)
        self._source.allow(0)
        # `|`: the stream is read once, from its beginning to its end.
        self._tar = tarfile.open(  # noqa: SIM115  it owns nothing besides the file
            fileobj=cast("IO[bytes]", self._source), mode="r|", errorlevel=2, tarinfo=headers.entry_type()
        )

    def entries(self) -> Iterator[tarfile.TarInfo]:
        while (entry := self._tar.next()) is not None:
            self._tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all members in memory
            self._source.allow(entry.size)
            yield entry
            self._source.allow_next()

    def write(self, entry: tarfile.TarInfo, path: str) -> None:
        """Write a read-only file, executable if the layer says so, because tasks share it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123  a descriptor, not a path
            content = self._tar.extractfile(entry) if entry.size else None
            if content is not None:
                shutil.copyfileobj(content, file, _PIECE)
            os.fchmod(descriptor, entry.mode & 0o555 | 0o400)


class _Hashing:
    """Hashes a layer's blob while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._hash.update(piece)
        return piece

    def digest(self) -> str:
        """Read the rest, and return the digest of the whole blob."""
        while self.read(_PIECE):
            pass
        return f"sha256:{self._hash.hexdigest()}"


@contextlib.contextmanager
def _open_layer(layer: Layer, *, images: Images, headers: _Headers) -> Iterator[_Archive]:
    """Yield the layer's entries. On exit, verify the digest of the layer."""
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
def _naming_layer(layer: Layer) -> Iterator[None]:
    """Turn errors into PullErrors that name the layer."""
    try:
        yield
    except PullError as error:
        raise PullError(f"failed to register layer {layer.digest}: {error}") from None
    except RecursionError:
        raise PullError(f"failed to register layer {layer.digest}: it has headers without an end") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError, UnicodeError, ValueError) as error:
        raise PullError(f"failed to register layer {layer.digest}: {error}") from None


def _protect(root: Path) -> None:
    """Make the folders read-only, because all tasks of the image share them."""
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o555)

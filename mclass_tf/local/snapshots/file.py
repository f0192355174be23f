"""The file format of snapshots: signed with the home folder's key, and read only with a valid signature.

It contains a magic line, the signature in hexadecimal (HMAC-SHA256 of all that follows), the header as a line of JSON, and a
tar archive of `state` and the registry's blobs. The header names the versions that wrote the file. Only these can read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import importlib.metadata
import json
import os
import secrets
import shutil
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO

from mclass_tf import __version__
from mclass_tf.local.errors import SnapshotError

_MAGIC = b"mclass-tf snapshot\n"
_DIGITS = 64
_LONGEST_HEADER = 64 * 1024
_PIECE = 1024 * 1024
_PACKAGE = Path(__file__).parents[1]
_KEY = "snapshot.key"
_KEY_BYTES = 32
_STATE, _BLOBS = "state", "blobs/"
_WITHOUT = (
    ("local", "up"),
    " without --from starts an empty one; ",
    ("local", "save", "FILE"),
    " writes a snapshot of the one that is up",
)


@cache
def versions() -> Mapping[str, str]:
    """Return the versions that must be equal when a snapshot is written and read."""
    sources = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        sources.update(f"{file.relative_to(_PACKAGE)}\0".encode() + file.read_bytes() + b"\0")
    return {
        "mclass-tf": f"{__version__} ({sources.hexdigest()[:12]})",
        "moto": importlib.metadata.version("moto"),
        "python": f"{sys.implementation.cache_tag} on {sysconfig.get_platform()}",
    }


@dataclass(frozen=True, kw_only=True)
class SnapshotHeader:
    """`speed` is the clock's. `tasks` is what ran the tasks ("": chosen by the image). `versions` wrote the file."""

    speed: float
    tasks: str
    versions: Mapping[str, str]


def write(path: Path, *, header: SnapshotHeader, state: Path, blobs: Path, home: Path) -> int:
    """Write the file atomically, readable only by its owner; return its size in bytes. Raise OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
        try:
            draft.write(_MAGIC + b"0" * _DIGITS + b"\n")
            start = draft.tell()
            draft.write(json.dumps(asdict(header)).encode() + b"\n")
            with tarfile.open(fileobj=draft, mode="w") as archive:
                archive.add(state, _STATE)
                for blob in sorted(blobs.iterdir()):
                    archive.add(blob, _BLOBS + blob.name)
            draft.flush()
            draft.seek(start)
            signature = _signature(draft, key=_read_key(home) or _make_key(home))
            draft.seek(len(_MAGIC))
            draft.write(signature.encode())
            draft.flush()
            os.fsync(draft.fileno())
            Path(draft.name).replace(path)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise
    return path.stat().st_size


@contextlib.contextmanager
def verified(path: Path, *, home: Path) -> Iterator[tuple[SnapshotHeader, IO[bytes]]]:
    """Yield the header and the signed content of a file that this home folder's key signed and these versions wrote.

    The content is a copy in an unnamed file, so the bytes that are read are those that were verified. Raise SnapshotError.
    """
    if path.exists() and not path.is_file():
        raise SnapshotError(
            f"{path} is no file", hint=_WITHOUT
        )  # opening a pipe would block until somebody writes
    with contextlib.ExitStack() as files:
        try:
            file = files.enter_context(path.open("rb"))
            copy = files.enter_context(tempfile.TemporaryFile(dir=home))
            _require_signature(path, file, copy, home=home)
            header = _header(path, copy)
        except OSError as error:
            raise SnapshotError(f"{path} cannot be read: {error.strerror}", hint=_WITHOUT) from error
        yield header, copy


def unpack(archive: IO[bytes], *, blobs: Path) -> bytes:
    """Unpack the content that `verified` yields: write the blobs into their folder and return the state."""
    state = b""
    archive.seek(0)
    archive.readline(_LONGEST_HEADER)
    with tarfile.open(fileobj=archive, mode="r") as members:
        for member in members:
            content = members.extractfile(member)
            if content is None:
                continue
            if member.name == _STATE:
                state = content.read()
            else:
                with (blobs / Path(member.name).name).open("xb") as file:
                    shutil.copyfileobj(content, file, _PIECE)
    return state


def _require_signature(path: Path, file: IO[bytes], copy: IO[bytes], *, home: Path) -> None:
    """Copy the signed content. Raise SnapshotError if the signature does not match the copy."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise SnapshotError(f"{path} is no snapshot of a local AWS", hint=_WITHOUT)
    signature = file.read(_DIGITS + 1)[:_DIGITS]
    key = _read_key(home)
    signed = hmac.new(key or b"", digestmod="sha256")
    while piece := file.read(_PIECE):
        signed.update(piece)
        copy.write(piece)
    if key is None or not hmac.compare_digest(signed.hexdigest().encode(), signature):
        raise SnapshotError(
            f"{path} is not signed with the key of this home folder, {home / _KEY}: it was written elsewhere, or changed since",
            hint=f"write it here; or, where you trust who wrote it to run programs as you, copy their {_KEY} to {home} first",
        )


def _header(path: Path, copy: IO[bytes]) -> SnapshotHeader:
    copy.seek(0)
    header = SnapshotHeader(**json.loads(copy.readline(_LONGEST_HEADER)))
    ours, theirs = versions(), header.versions
    for name in ours:
        if ours[name] != theirs.get(name):
            raise SnapshotError(
                f"{path} was written by {name} {theirs.get(name)}, and this is {name} {ours[name]}: "
                "a snapshot is read by the version that wrote it, and by no other",
                hint=(
                    "build it again with this version: ",
                    ("local", "up"),
                    ", `apply`, ",
                    ("local", "save", "FILE"),
                ),
            )
    return header


def _signature(file: IO[bytes], *, key: bytes) -> str:
    signed = hmac.new(key, digestmod="sha256")
    while piece := file.read(_PIECE):
        signed.update(piece)
    return signed.hexdigest()


def _read_key(home: Path) -> bytes | None:
    try:
        return (home / _KEY).read_bytes() or None
    except FileNotFoundError:
        return None


def _make_key(home: Path) -> bytes:
    """Create the key of this home folder, readable only by its owner, unless it exists; return it."""
    with tempfile.NamedTemporaryFile(dir=home) as draft:
        draft.write(secrets.token_hex(_KEY_BYTES).encode())
        draft.flush()
        with contextlib.suppress(FileExistsError):  # another command created it concurrently
            os.link(draft.name, home / _KEY)
    return (home / _KEY).read_bytes()

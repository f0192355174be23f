"""Blobs on disk, by digest, and the uploads that become blobs."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

_PATIENCE = (
    5.0  # seconds that a request waits for another one on the same upload to notice that its client left
)


class DigestMismatchError(Exception):
    """The bytes are not what their digest says; `found` is what they are."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


class BusyError(Exception):
    """Another request writes to the upload."""


class Upload:
    """Bytes that arrive for one blob of one repository, in one request or several."""

    def __init__(self, *, folder: Path, owner: str) -> None:
        self.id = str(uuid.uuid4())
        self.owner = owner
        self.path = folder / self.id
        self.offset = 0
        self.failure: OSError | None = None
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self.path.touch(mode=0o600)

    @property
    def digest(self) -> str:
        """The digest of what has arrived."""
        return f"sha256:{self._hash.hexdigest()}"

    @contextlib.contextmanager
    def appending(self) -> Iterator[IO[bytes]]:
        """Take more bytes. What arrived before a client hangs up stays: the upload can be resumed."""
        with self.exclusive(), self.path.open("ab", buffering=0) as file:
            yield cast("IO[bytes]", _Appender(upload=self, file=file))

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_PATIENCE):
            raise BusyError
        try:
            yield
        finally:
            self._lock.release()

    def append(self, *, file: IO[bytes], piece: bytes) -> None:
        """Write, or remember why not: the rest of the request must be read all the same before it is answered."""
        if self.failure is not None:
            return
        view = memoryview(piece)
        try:
            while view:
                written = file.write(view)
                self._hash.update(view[:written])
                self.offset += written
                view = view[written:]
        except OSError as error:
            self.failure = error


class _Appender:
    def __init__(self, *, upload: Upload, file: IO[bytes]) -> None:
        self._upload = upload
        self._file = file

    def write(self, piece: bytes) -> int:
        self._upload.append(file=self._file, piece=piece)
        return len(piece)


def registry_in(home: Path) -> Path:
    """Return where the registry of a local AWS keeps everything."""
    return home / "registry"


def blobs_in(folder: Path) -> Path:
    """Return where a registry keeps its blobs."""
    return folder / "blobs" / "sha256"


class Store:
    """All blobs of an instance, each once however many repositories hold it, in the folder `blobs` by their digests in hexadecimal.

    Nothing is kept between instances.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.blobs = blobs_in(folder)
        self._incoming = folder / "uploads"
        self._uploads: dict[str, Upload] = {}
        self.remove()
        for path in (self.blobs, self._incoming):
            path.mkdir(parents=True, mode=0o700)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def blob(self, digest: str) -> Path:
        return self.blobs / digest.removeprefix("sha256:")

    def start(self, *, owner: str) -> Upload:
        upload = Upload(folder=self._incoming, owner=owner)
        self._uploads[upload.id] = upload
        return upload

    def upload(self, upload_id: str, *, owner: str) -> Upload | None:
        found = self._uploads.get(upload_id)
        return found if found is not None and found.owner == owner else None

    def discard(self, upload: Upload) -> None:
        self._uploads.pop(upload.id, None)
        upload.path.unlink(missing_ok=True)

    def commit(self, upload: Upload, *, digest: str) -> int:
        """Make the upload a blob and return its size; raise DigestMismatchError and forget it where it is another."""
        with upload.exclusive():
            if upload.digest != digest:
                self.discard(upload)
                raise DigestMismatchError(upload.digest)
            upload.path.replace(self.blob(digest))
            self._uploads.pop(upload.id, None)
        return upload.offset

"""Blobs on disk, by digest, and the uploads that become blobs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

_log = logging.getLogger("mclass_tf.local")

# Seconds that a request waits for another one on the same upload, to notice that its client disconnected.
_LOCK_TIMEOUT = 5.0
_SWEEP_SECONDS = 60.0
IDLE_SECONDS = 3600.0
"""How long an idle upload is kept."""
MOST_OPEN = 100
"""The limit on open uploads of one owner. A further one replaces the one that has been idle the longest."""
LARGEST_BLOB = 52_000 * 1024**2
"""Bytes; https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html ("Layer size")"""


class DigestMismatchError(Exception):
    """The bytes have another digest, `actual`."""

    def __init__(self, actual: str) -> None:
        super().__init__(actual)
        self.actual = actual


class UploadBusyError(Exception):
    """Another request holds the upload."""


class GoneError(Exception):
    """The upload was committed or discarded while a request waited for it."""


class OutOfOrderError(Exception):
    """The chunk does not start at `offset`, the end of the upload."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class SizeDiffersError(Exception):
    """The length of the chunk is not the announced one, or the blob is too large."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """The announced start in the blob and length of a request's body; None if not announced."""

    start: int | None = None
    length: int | None = None


class Upload:
    """The upload of one blob to one repository, in one or more requests."""

    def __init__(self, *, folder: Path, owner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.id = str(uuid.uuid4())
        self.owner = owner
        self.path = folder / self.id
        self.offset = 0
        self.failure: OSError | None = None
        self._clock = clock
        self._touched = clock()
        self._is_open = True
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self.path.touch(mode=0o600)

    @property
    def digest(self) -> str:
        """The digest of the received bytes."""
        return f"sha256:{self._hash.hexdigest()}"

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last request; 0 while one holds the upload."""
        return 0.0 if self._lock.locked() else self._clock() - self._touched

    @contextlib.contextmanager
    def appending(self, chunk: Chunk) -> Iterator[IO[bytes]]:
        """Append a chunk. If the client disconnects, the received bytes stay and the upload can be resumed.

        Of several chunks that start at the same byte, exactly one is accepted: the offset is compared under the lock.
        Raise UploadBusyError, GoneError or OutOfOrderError before the first byte. After the last one, raise
        SizeDiffersError and remove the chunk.
        """
        with self.exclusive(), self.path.open("r+b", buffering=0) as file:
            if chunk.start not in (None, self.offset):
                raise OutOfOrderError(self.offset)
            start, digest = self.offset, self._hash.copy()
            file.seek(start)
            limit = LARGEST_BLOB if chunk.length is None else min(start + chunk.length, LARGEST_BLOB)
            appender = _Appender(upload=self, file=file, limit=limit)
            yield cast("IO[bytes]", appender)
            is_short = chunk.length is not None and self.offset < limit and self.failure is None
            if appender.has_overflowed or is_short:
                file.truncate(start)
                self.offset, self._hash = start, digest
                raise SizeDiffersError

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the upload's lock. Raise UploadBusyError or GoneError."""
        if not self._lock.acquire(timeout=_LOCK_TIMEOUT):
            raise UploadBusyError
        try:
            if not self._is_open:
                raise GoneError
            yield
        finally:
            self._touched = self._clock()
            self._lock.release()

    def close(self) -> None:
        """Accept no more bytes. Call it while holding the upload."""
        self._is_open = False

    def append(self, *, file: IO[bytes], piece: bytes) -> None:
        """Write, or record the failure: the rest of the request must be read in any case before the answer."""
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
    """Appends bytes up to `limit`, an offset in the blob, and discards the rest."""

    def __init__(self, *, upload: Upload, file: IO[bytes], limit: int) -> None:
        self._upload = upload
        self._file = file
        self._limit = limit
        self.has_overflowed = False

    def write(self, piece: bytes) -> int:
        room = self._limit - self._upload.offset
        if self._upload.failure is None and len(piece) > room:
            self.has_overflowed = True
        self._upload.append(file=self._file, piece=piece[:room])
        return len(piece)


def registry_in(home: Path) -> Path:
    """Return the registry's folder in a home folder."""
    return home / "registry"


def blobs_in(folder: Path) -> Path:
    """Return the folder of blobs in a registry's folder."""
    return folder / "blobs" / "sha256"


class BlobStore:
    """All blobs of an instance, each stored once for all repositories, named by their hexadecimal digests.

    Nothing is kept between instances.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self.blobs = blobs_in(folder)
        self._incoming = folder / "uploads"
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()
        self.remove()
        for path in (self.blobs, self._incoming):
            path.mkdir(parents=True, mode=0o700)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def blob(self, digest: str) -> Path:
        return self.blobs / digest.removeprefix("sha256:")

    def start(self, *, owner: str) -> Upload:
        """Start an upload. If its owner has too many, discard the one that has been idle the longest."""
        upload = Upload(folder=self._incoming, owner=owner, clock=self._clock)
        with self._lock:
            others = [other for other in self._uploads.values() if other.owner == owner]
            self._uploads[upload.id] = upload
        for other in sorted(others, key=_idle_seconds, reverse=True)[: max(0, len(others) + 1 - MOST_OPEN)]:
            self._collect(other)
        return upload

    def upload(self, upload_id: str, *, owner: str) -> Upload | None:
        upload = self._uploads.get(upload_id)
        return upload if upload is not None and upload.owner == owner else None

    def discard(self, upload: Upload) -> None:
        """Delete an upload and its bytes. Call it while holding the upload."""
        upload.close()
        with self._lock:
            self._uploads.pop(upload.id, None)
        upload.path.unlink(missing_ok=True)

    def collect(self) -> None:
        """Discard abandoned uploads."""
        for upload in tuple(self._uploads.values()):
            if upload.idle_seconds > IDLE_SECONDS:
                self._collect(upload)

    def _collect(self, upload: Upload) -> None:
        with contextlib.suppress(UploadBusyError, GoneError), upload.exclusive():
            self.discard(upload)
            _log.info("discarded the abandoned upload %s of %d bytes", upload.id, upload.offset)

    def commit(self, upload: Upload, *, digest: str) -> int:
        """Turn the upload into a blob and return its size. On another digest, discard it and raise DigestMismatchError."""
        with upload.exclusive():
            if upload.digest != digest:
                self.discard(upload)
                raise DigestMismatchError(upload.digest)
            upload.path.replace(self.blob(digest))
            self.discard(upload)
        return upload.offset


def _idle_seconds(upload: Upload) -> float:
    return upload.idle_seconds


class UploadCollector:
    """Periodically discards abandoned uploads while the local AWS runs."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await asyncio.to_thread(self._store.collect)

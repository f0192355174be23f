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

_LOCK_TIMEOUT = (
    5.0  # seconds that a request waits for another one on the same upload to notice that its client left
)
_SWEEP_SECONDS = 60.0
IDLE_SECONDS = 3600.0
"""How long an upload is kept to which nothing comes any more."""
MOST_OPEN = 100
"""Uploads that are open in one repository; one more takes the place of the one that has been idle the longest."""
LARGEST_BLOB = 52_000 * 1024**2
"""Bytes: https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html ("Layer size")"""


class DigestMismatchError(Exception):
    """The bytes are not what their digest says; `actual` is their digest."""

    def __init__(self, actual: str) -> None:
        super().__init__(actual)
        self.actual = actual


class UploadBusyError(Exception):
    """Another request writes to the upload."""


class UploadGoneError(Exception):
    """The upload was finished or discarded while a request waited for it."""


class OutOfOrderError(Exception):
    """The bytes do not start where the last ones ended; `offset` is where that is."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class SizeDiffersError(Exception):
    """Other bytes came than the request had announced, or too many."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What a request says of its body: where in the blob it starts and how long it is; None where it says nothing."""

    start: int | None = None
    length: int | None = None


class Upload:
    """Bytes that arrive for one blob of one repository, in one request or several."""

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
        """The digest of what has arrived."""
        return f"sha256:{self._hash.hexdigest()}"

    @property
    def idle_seconds(self) -> float:
        """How long nothing has come; 0 while something does."""
        return 0.0 if self._lock.locked() else self._clock() - self._touched

    @contextlib.contextmanager
    def appending(self, chunk: Chunk) -> Iterator[IO[bytes]]:
        """Take more bytes. What arrived before a client hangs up stays: the upload can be resumed.

        Of requests that all start at the same byte one alone is taken: where the last byte is, is known to who holds the upload.
        Raise BusyError, GoneError or OutOfOrderError before the first byte, SizeDiffersError after the last one, with all of
        the chunk taken back.
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
        """Keep other requests off the upload; raise BusyError or GoneError."""
        if not self._lock.acquire(timeout=_LOCK_TIMEOUT):
            raise UploadBusyError
        try:
            if not self._is_open:
                raise UploadGoneError
            yield
        finally:
            self._touched = self._clock()
            self._lock.release()

    def close(self) -> None:
        """Take nothing any more. Call it while nobody else holds the upload."""
        self._is_open = False

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
    """Takes bytes up to `limit`, an offset in the blob; what goes beyond it is read to nowhere."""

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
    """Return where the registry of a local AWS keeps everything."""
    return home / "registry"


def blobs_in(folder: Path) -> Path:
    """Return where a registry keeps its blobs."""
    return folder / "blobs" / "sha256"


class BlobStore:
    """All blobs of an instance, each once however many repositories hold it, in the folder `blobs` by their digests in hexadecimal.

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
        """Start an upload; where its owner has too many already, discard the one that has been idle the longest."""
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
        """Forget an upload and its bytes. Call it while nobody else holds it."""
        upload.close()
        with self._lock:
            self._uploads.pop(upload.id, None)
        upload.path.unlink(missing_ok=True)

    def collect(self) -> None:
        """Discard the uploads that were abandoned."""
        for upload in tuple(self._uploads.values()):
            if upload.idle_seconds > IDLE_SECONDS:
                self._collect(upload)

    def _collect(self, upload: Upload) -> None:
        with contextlib.suppress(UploadBusyError, UploadGoneError), upload.exclusive():
            self.discard(upload)
            _log.info("the upload %s of %d bytes was abandoned, and is discarded", upload.id, upload.offset)

    def commit(self, upload: Upload, *, digest: str) -> int:
        """Make the upload a blob and return its size; raise DigestMismatchError and forget it where it is another."""
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
    """Collects the uploads that clients have abandoned, as long as the local AWS lives."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await asyncio.to_thread(self._store.collect)

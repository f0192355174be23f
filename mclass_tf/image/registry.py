"""Pushes images to a repository of ECR, and pulls from it."""

from __future__ import annotations

import errno
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

from mclass_tf.errors import CorruptedImageError, DiskFullError, Hint, NoImageError, TagTakenError
from mclass_tf.image.connection import BUSY, TAKEN, TRIES, BrokenOffError, Connection, read_answer, refusal_of
from mclass_tf.image.layout import Descriptor, Image
from mclass_tf.image.login import Login

Report = Callable[[str], None]
# ECR answers 404 if the client does not accept the media type of the manifest.
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ACCEPTED = {"Accept": ", ".join(MANIFESTS)}
_PIECE = 1024 * 1024
_REPORT_EVERY = 32 * 1024 * 1024
_MEGABYTE = 1_000_000
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,15})")


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """The result of a push. `sent` counts bytes of blobs. `changed` is False if the tag already named the image."""

    digest: str
    repository: str
    tag: str
    sent: int
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest of a registry, as bytes with their digest and media type."""

    digest: str
    media_type: str
    data: bytes


class Registry:
    """One repository of a registry. Raises RegistryError and its subclasses."""

    def __init__(
        self,
        login: Login,
        repository: str,
        *,
        environment: str,
        report: Report,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._repository = repository
        self._environment = environment
        self._report = report
        self._connection = Connection(login, repository, environment=environment, sleep=sleep)

    def push(self, image: Image, *, tag: str) -> PushResult:
        """Push missing blobs, then the manifest under `tag`. A partial push is invisible."""
        there = self._digest_of(tag)
        if there == image.digest:
            return self._pushed(image, tag=tag, sent=0, changed=False)
        if there is not None:
            self._refuse_taken_tag(tag, there)
        missing = self.missing(image.blobs)
        for blob in missing:
            image.verify(blob)
            self.send(image.path(blob.digest), blob)
        image.verify(image.manifest)
        data = image.path(image.digest).read_bytes()
        manifest = Manifest(digest=image.digest, media_type=image.manifest.media_type, data=data)
        self.put_manifest(manifest, reference=tag)
        return self._pushed(image, tag=tag, sent=sum(blob.size for blob in missing), changed=True)

    def is_tagged(self, tag: str, digest: str) -> bool:
        """Return whether the tag names that image; raise TagTakenError if it names another."""
        there = self._digest_of(tag)
        if there not in (None, digest):
            self._refuse_taken_tag(tag, str(there))
        return there is not None

    def missing(self, blobs: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
        """Return the blobs that the repository lacks."""
        missing = tuple(blob for blob in blobs if not self._has(blob))
        size, whole = (sum(blob.size for blob in part) for part in (missing, blobs))
        if blobs:
            self._report(
                f"{len(missing)} of {len(blobs)} blobs to send, {_megabytes(size)} of {_megabytes(whole)}"
            )
        return missing

    def manifest(self, digest: str) -> Manifest:
        """Return the manifest with this digest; raise NoImageError."""
        answer = self._connection.call_with_retries("GET", f"manifests/{digest}", headers=_ACCEPTED)
        if answer.status_code == HTTPStatus.NOT_FOUND and refusal_of(answer).code != "NAME_UNKNOWN":
            raise self._missing_image(digest)
        self._connection.check(answer, HTTPStatus.OK, doing="pull from")
        media_type = self._connection.header(answer, "Content-Type").partition(";")[0].strip()
        return Manifest(digest=digest, media_type=media_type, data=answer.content)

    def read(self, blob: Descriptor) -> bytes:
        """Return a small blob, such as a configuration; raise CorruptedImageError if it does not match its digest."""
        answer = self._connection.call_with_retries("GET", f"blobs/{blob.digest}")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise self._missing_image(blob.digest)
        self._connection.check(answer, HTTPStatus.OK, doing="pull from")
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        if digest != blob.digest:
            raise self._damaged(blob, digest)
        return answer.content

    def download(self, blob: Descriptor, path: Path) -> None:
        """Write a blob to a file; raise CorruptedImageError if it does not match its digest."""
        for attempt in range(1, TRIES + 1):
            try:
                digest = self._download(blob, path)
            except BrokenOffError as error:
                self._connection.wait(attempt, error)
                continue
            if digest == blob.digest:
                return
        raise self._damaged(blob, digest)

    def _damaged(self, blob: Descriptor, digest: str) -> CorruptedImageError:
        return CorruptedImageError(
            f"the blob {blob.digest} of {self._repository} came as {digest}",
            hint="it was damaged on its way, or is damaged there: try again, or push the image again",
        )

    def _download(self, blob: Descriptor, path: Path) -> str:
        """Write a blob to a file; return the digest of the received bytes."""
        from requests.exceptions import RequestException  # noqa: PLC0415

        seen = hashlib.sha256()
        headers = {"Accept-Encoding": "identity"}  # uncompressed by HTTP
        seen_bytes = 0
        with closing(self._connection.open("GET", f"blobs/{blob.digest}", headers=headers)) as answer:
            if answer.status_code in BUSY:
                raise BrokenOffError(f"{answer.status_code} {answer.reason}")
            if answer.status_code == HTTPStatus.NOT_FOUND:
                raise self._missing_image(blob.digest)
            if answer.status_code != HTTPStatus.OK:
                self._connection.check(read_answer(answer), HTTPStatus.OK, doing="pull from")
            try:
                with path.open("wb") as file:
                    for piece in answer.iter_content(_PIECE):
                        seen.update(piece)
                        file.write(piece)
                        seen_bytes += len(piece)
                        if seen_bytes > blob.size:
                            return f"more than its {blob.size} bytes"
            except RequestException as error:
                raise BrokenOffError(str(error)) from None
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise DiskFullError(
                    f"no space left for {path.parent}", hint="free some space, then try again"
                ) from None
        return f"sha256:{seen.hexdigest()}"

    def _missing_image(self, digest: str) -> NoImageError:
        return NoImageError(
            f"the repository {self._repository} of {self._environment} does not have {digest}",
            hint=Hint(
                "it was deleted there: push it again (",
                ("push", self._environment),
                "), or release another image",
            ),
        )

    def _pushed(self, image: Image, *, tag: str, sent: int, changed: bool) -> PushResult:
        return PushResult(
            digest=image.digest, repository=self._repository, tag=tag, sent=sent, changed=changed
        )

    def _refuse_taken_tag(self, tag: str, there: str) -> None:
        raise TagTakenError(
            f"the tag {tag} of {self._repository} names another image already: {there}",
            hint="tags are immutable: commit what has changed and build again, or name the image with --tag TAG",
        )

    def _digest_of(self, tag: str) -> str | None:
        """Return the digest that the tag names, or None."""
        answer = self._connection.call_with_retries("HEAD", f"manifests/{tag}", headers=_ACCEPTED)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            self._require_repository()
            return None
        if answer.status_code != HTTPStatus.OK:
            self._require_repository()
        self._connection.check(answer, HTTPStatus.OK)
        return self._connection.header(answer, "Docker-Content-Digest")

    def _require_repository(self) -> None:
        """Find out why HEAD was refused: it has no body, and 404 can mean a missing tag or a missing repository."""
        self._connection.check(self._connection.call_with_retries("GET", "tags/list?n=1"), HTTPStatus.OK)

    def _has(self, blob: Descriptor) -> bool:
        answer = self._connection.call_with_retries("HEAD", f"blobs/{blob.digest}")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return False
        self._connection.check(answer, HTTPStatus.OK)
        return True

    def send(self, path: Path, blob: Descriptor) -> None:
        """Upload a blob. If the connection breaks, resume at the byte that the registry has reached."""
        location, offset = self._start(), 0
        for attempt in range(1, TRIES + 1):
            try:
                with path.open("rb") as file:
                    location = self._send_from(file, blob, location=location, offset=offset)
                break
            except BrokenOffError as error:
                self._connection.wait(attempt, error)
                location, offset = self._resume(location, size=blob.size)
                self._report(f"the connection broke; going on from {_megabytes(offset)}")
        query = urlencode({"digest": blob.digest})
        joined = f"{location}{'&' if '?' in location else '?'}{query}"
        answer = self._connection.call_with_retries("PUT", joined)
        if answer.status_code == HTTPStatus.NOT_FOUND and self._has(blob):
            return  # an earlier attempt completed the upload, but its response was lost
        self._connection.check(answer, HTTPStatus.CREATED)

    def _start(self) -> str:
        answer = self._connection.call_with_retries("POST", "blobs/uploads/")
        self._connection.check(answer, HTTPStatus.ACCEPTED)
        return self._connection.location(answer)

    def _send_from(self, file: IO[bytes], blob: Descriptor, *, location: str, offset: int) -> str:
        file.seek(offset)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size - offset)}
        if offset:
            headers["Content-Range"] = f"{offset}-{blob.size - 1}"
        body = _ProgressFile(file, size=blob.size, offset=offset, report=self._report)
        answer = self._connection.call("PATCH", location, headers=headers, data=body)
        if answer.status_code in BUSY:
            raise BrokenOffError(f"{answer.status_code} {answer.reason}")
        self._connection.check(answer, HTTPStatus.ACCEPTED)
        return self._connection.location(answer)

    def _resume(self, location: str, *, size: int) -> tuple[str, int]:
        """Return where an upload continues: its URL and offset. Start again if the registry has lost it."""
        answer = self._connection.call_with_retries("GET", location)
        reached = _RANGE.fullmatch(answer.headers.get("Range", ""))
        if answer.status_code != HTTPStatus.NO_CONTENT or reached is None or not 0 < int(reached[1]) < size:
            return self._start(), 0
        return self._connection.location(answer), int(reached[1]) + 1

    def put_manifest(self, manifest: Manifest, *, reference: str) -> None:
        """Put a manifest under a tag or its own digest, which makes the image visible."""
        headers = {"Content-Type": manifest.media_type}
        answer = self._connection.call_with_retries(
            "PUT", f"manifests/{reference}", headers=headers, data=manifest.data
        )
        if refusal_of(answer).code == TAKEN and self._digest_of(reference) == manifest.digest:
            return  # by an attempt whose response was lost, or by another push of the same image
        self._connection.check(answer, HTTPStatus.CREATED)
        taken = answer.headers.get("Docker-Content-Digest", manifest.digest)
        if taken != manifest.digest:
            raise CorruptedImageError(
                f"the registry took {taken} for {manifest.digest}",
                hint="the manifest was damaged on its way: push again",
            )


class _ProgressFile:
    """A file that reports its progress. It has a length, so that requests sends Content-Length."""

    def __init__(self, file: IO[bytes], *, size: int, offset: int, report: Report) -> None:
        self._file = file
        self._size = size
        self._sent = offset
        self._reported = offset
        self._report = report

    def __len__(self) -> int:
        return self._size - self._sent

    def __iter__(self) -> Any:
        while piece := self.read(_PIECE):
            yield piece

    def read(self, length: int = _PIECE) -> bytes:
        piece = self._file.read(max(length, _PIECE))
        self._sent += len(piece)
        if self._sent - self._reported >= _REPORT_EVERY:
            self._reported = self._sent
            self._report(f"sent {_megabytes(self._sent)} of {_megabytes(self._size)}")
        return piece


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:.1f} MB"

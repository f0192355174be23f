"""Requests that upload blobs, and the sinks of their bodies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from mclass_tf.local.http.server import Reply
from mclass_tf.local.registry.refusal import HEADERS, OciError
from mclass_tf.local.registry.replies import (
    accepted,
    conflict,
    created,
    no_space,
    no_upload,
    out_of_order,
    progress,
)
from mclass_tf.local.registry.repositories import Repositories
from mclass_tf.local.registry.request import OciRequest, checked_digest, chunk_of
from mclass_tf.local.registry.store import (
    LARGEST_BLOB,
    BlobStore,
    DigestMismatchError,
    GoneError,
    OutOfOrderError,
    SizeDiffersError,
    Upload,
    UploadBusyError,
)

_ARRIVED = "mclass.registry.upload"
REFUSED = "mclass.registry.refused"


class BlobUploads:
    """Answers the requests that upload blobs."""

    def __init__(self, *, store: BlobStore, repositories: Repositories) -> None:
        self._store = store
        self._repositories = repositories

    def sink(self, request: OciRequest) -> AbstractContextManager[IO[bytes]] | None:
        """Return the sink that streams the body to its upload; None if the request has no upload."""
        upload = self._upload(request) if request.reference else self._start_whole(request)
        return None if upload is None else _arriving(request, upload)

    def start(self, request: OciRequest) -> Reply:
        with self._repositories.exclusive():
            layers = self._repositories.of(request).layers
            mounted = self._repositories.mount(request, layers)
        if mounted is not None:
            return created(request, mounted)
        if "digest" not in request.query:
            return accepted(request, self._store.start(owner=request.owner))
        return self._commit(request, self._arrived(request))

    def _start_whole(self, request: OciRequest) -> Upload | None:
        """Return the upload of a blob sent in a single POST; None if the POST contains no blob."""
        if "digest" not in request.query:
            return None
        with self._repositories.exclusive():
            layers = self._repositories.of(request).layers
            if self._repositories.mount(request, layers) is not None:
                return None
        checked_digest(request.query["digest"])
        return self._store.start(owner=request.owner)

    def status(self, request: OciRequest) -> Reply:
        upload = self._upload(request)
        with suppress(UploadBusyError, GoneError), upload.exclusive():
            pass  # wait for the end of a request that lost its client
        return Reply(status=HTTPStatus.NO_CONTENT, headers=progress(request, upload.id, upload.offset))

    def resume(self, request: OciRequest) -> Reply:
        return accepted(request, self._arrived(request))

    def finish(self, request: OciRequest) -> Reply:
        upload = self._arrived(request)
        checked_digest(request.query.get("digest", ""))
        return self._commit(request, upload)

    def cancel(self, request: OciRequest) -> Reply:
        upload = self._upload(request)
        try:
            with upload.exclusive():
                self._store.discard(upload)
        except GoneError:
            raise no_upload(request) from None
        return Reply(status=HTTPStatus.NO_CONTENT, headers=HEADERS)

    def _arrived(self, request: OciRequest) -> Upload:
        """Return the upload that received the body of this request."""
        upload: Upload = request.environ[_ARRIVED]
        if upload.failure is not None:
            self._store.discard(upload)
            raise no_space(upload.failure)
        return upload

    def _commit(self, request: OciRequest, upload: Upload) -> Reply:
        digest = request.query["digest"]
        if upload.failure is not None:
            self._store.discard(upload)
            raise no_space(upload.failure)
        try:
            size = self._store.commit(upload, digest=digest)
        except GoneError:
            raise no_upload(request) from None
        except DigestMismatchError as error:
            raise OciError(
                HTTPStatus.BAD_REQUEST,
                "DIGEST_INVALID",
                f"The digest '{digest}' does not match '{error.actual}', that of the bytes received",
            ) from None
        with self._repositories.exclusive():
            self._repositories.of(request).layers[digest] = size
        return created(request, digest)

    def _upload(self, request: OciRequest) -> Upload:
        with self._repositories.exclusive():
            self._repositories.of(request)
        upload = self._store.upload(request.reference, owner=request.owner)
        if upload is None:
            raise no_upload(request)
        return upload


@contextmanager
def _arriving(request: OciRequest, upload: Upload) -> Iterator[IO[bytes]]:
    """Append a body to the upload. If that is not possible, discard the body, which must be read before the refusal."""
    request.environ[_ARRIVED] = upload
    try:
        with upload.appending(chunk_of(request)) as file:
            yield file
    except (UploadBusyError, GoneError, OutOfOrderError, SizeDiffersError, OciError) as error:
        request.environ[REFUSED] = _refusal(request, upload, error)
        if not isinstance(error, SizeDiffersError):  # the others are raised before the first byte
            with Path(os.devnull).open("wb") as nowhere:
                yield nowhere


@contextmanager
def refused(environ: dict[str, Any], error: OciError | OSError) -> Iterator[IO[bytes]]:
    """Discard a body; `RegistryApi.answer` then refuses the request."""
    environ[REFUSED] = error
    with Path(os.devnull).open("wb") as nowhere:
        yield nowhere


def _refusal(request: OciRequest, upload: Upload, error: Exception) -> OciError:
    match error:
        case OciError():
            return error
        case UploadBusyError():
            return conflict()
        case OutOfOrderError():
            return out_of_order(request, upload.id, error.offset)
        case SizeDiffersError():
            return OciError(
                HTTPStatus.BAD_REQUEST,
                "SIZE_INVALID",
                f"the body is not as long as announced, or the blob exceeds {LARGEST_BLOB} bytes",
                headers=progress(request, upload.id, upload.offset),
            )
        case _:
            return no_upload(request)

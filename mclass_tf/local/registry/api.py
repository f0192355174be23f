"""The OCI distribution API: who asks, for what, and what becomes of it.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md . The token names the account and region
whose repositories a request sees; state is moto's, blobs are the store's.
"""

from __future__ import annotations

import base64
import binascii
import errno
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs

from moto.core.exceptions import ServiceException
from moto.ecr.exceptions import ImageNotFoundException

from mclass_tf.local.access.registry_tokens import USER, ExpiredTokenError, Principal, UnknownTokenError
from mclass_tf.local.aws.ecr import backend as ecr
from mclass_tf.local.http.server import TOO_LARGE, FilePart, Reply
from mclass_tf.local.registry.refusal import HEADERS, RefusedError, denied, no_repository, unauthorized
from mclass_tf.local.registry.store import (
    LARGEST_BLOB,
    BusyError,
    Chunk,
    DigestMismatchError,
    GoneError,
    OutOfOrderError,
    SizeDiffersError,
    Store,
    Upload,
)

_log = logging.getLogger("mclass_tf.local")

_NAME = r"/v2/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:/.*)?", re.ASCII)
LARGEST_MANIFEST = 4 * 1024 * 1024
_PAGE = 1000
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_WITH_BODY = frozenset(["PATCH", "POST", "PUT"])
_UPLOADS = re.compile(f"{_NAME}/blobs/uploads/")
_ARRIVED = "mclass.registry.upload"
_REFUSED = "mclass.registry.refused"
# ECR's own names are not of this machine, and refused (guard.py); these are.
_REGISTRY_HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.localhost(?::\d+)?")
_ACTIONS = {
    "blobs/uploads": {
        "DELETE": "ecr:UploadLayerPart",
        "GET": "ecr:UploadLayerPart",
        "HEAD": "ecr:UploadLayerPart",
        "PATCH": "ecr:UploadLayerPart",
        "POST": "ecr:InitiateLayerUpload",
        "PUT": "ecr:CompleteLayerUpload",
    },
    "blobs/": {"GET": "ecr:GetDownloadUrlForLayer", "HEAD": "ecr:BatchCheckLayerAvailability"},
    "manifests/": {
        "DELETE": "ecr:BatchDeleteImage",
        "GET": "ecr:BatchGetImage",
        "HEAD": "ecr:BatchGetImage",
        "PUT": "ecr:PutImage",
    },
    "tags/list": {"GET": "ecr:ListImages", "HEAD": "ecr:ListImages"},
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request to a registry, by somebody whose token is known."""

    principal: Principal
    registry: Principal
    method: str
    name: str
    reference: str
    query: dict[str, str]
    environ: dict[str, Any]

    @property
    def owner(self) -> str:
        """Whose an upload is."""
        return f"{self.principal.account_id}/{self.registry.account_id}/{self.registry.region}/{self.name}"

    def header(self, name: str) -> str:
        return str(self.environ.get(name, ""))


class Registry:
    """Answers below `/v2/` and passes everything else on. `exclusive` keeps others off moto's state."""

    def __init__(self, *, store: Store, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self._store = store
        self._exclusive = exclusive
        self._routes: tuple[tuple[re.Pattern[str], dict[str, Callable[[Request], Reply]]], ...] = (
            (re.compile(r"/v2/?(?P<name>)"), {"GET": self._version}),
            (re.compile(r"/v2/_catalog(?P<name>)"), {"GET": self._catalog}),
            (re.compile(f"{_NAME}/tags/list"), {"GET": self._tags}),
            (
                re.compile(f"{_NAME}/manifests/(?P<reference>[^/]+)"),
                {"GET": self._get_manifest, "PUT": self._put_manifest, "DELETE": self._delete_manifest},
            ),
            (re.compile(f"{_NAME}/blobs/uploads/?"), {"POST": self._start_upload}),
            (
                re.compile(f"{_NAME}/blobs/uploads/(?P<reference>[0-9a-f-]+)"),
                {
                    "GET": self._upload_status,
                    "PATCH": self._continue_upload,
                    "PUT": self._finish_upload,
                    "DELETE": self._cancel_upload,
                },
            ),
            (re.compile(f"{_NAME}/blobs/(?P<reference>[^/]+)"), {"GET": self._get_blob}),
        )

    def answer(self, environ: dict[str, Any]) -> Reply | None:
        path = str(environ["PATH_INFO"])
        if path != "/v2" and not path.startswith("/v2/"):
            return None
        started = time.perf_counter()
        reply = self._reply(environ)
        spent = (time.perf_counter() - started) * 1e3
        _log.info("registry %s %s %d %.0f ms", environ["REQUEST_METHOD"], path, reply.status, spent)
        return reply

    def bar(self, environ: dict[str, Any]) -> Reply | None:
        """Refuse a request by its head where it has no token; None too for one that is none of the registry's."""
        try:
            _principal(str(environ.get("HTTP_AUTHORIZATION", "")))
        except RefusedError as refused:
            return refused.reply()
        return None

    def sink(self, environ: dict[str, Any]) -> AbstractContextManager[IO[bytes]] | None:
        """Have the bytes of an upload go to its file as they arrive; what is wrong with the request, `answer` says."""
        path = str(environ["PATH_INFO"])
        if environ["REQUEST_METHOD"] not in _WITH_BODY or not _UPLOADS.match(path):
            return None
        try:
            _, request = self._route(environ)
            upload = self._upload(request) if request.reference else self._start_whole(request)
            return None if upload is None else _arriving(request, upload)
        except (RefusedError, OSError) as error:
            return _refused(environ, error)

    def _reply(self, environ: dict[str, Any]) -> Reply:
        try:
            if _REFUSED in environ:
                raise environ[_REFUSED]
            handler, request = self._route(environ)
            return handler(request)
        except RefusedError as refused:
            return refused.reply()
        except BusyError:
            return _conflict().reply()
        except OSError as error:
            return _no_space(error).reply()

    def _route(self, environ: dict[str, Any]) -> tuple[Callable[[Request], Reply], Request]:
        principal = _principal(str(environ.get("HTTP_AUTHORIZATION", "")))
        method = str(environ["REQUEST_METHOD"])
        known: set[str] = set()
        for pattern, handlers in self._routes:
            found = pattern.fullmatch(str(environ["PATH_INFO"]))
            if found is None:
                continue
            known |= {"HEAD", *handlers} if "GET" in handlers else {*handlers}
            handler = handlers.get("GET" if method == "HEAD" else method)
            if handler is None:
                continue
            query = {key: values[0] for key, values in parse_qs(str(environ["QUERY_STRING"])).items()}
            fields = found.groupdict()
            request = Request(
                principal=principal,
                registry=_registry(str(environ.get("HTTP_HOST", "")), principal=principal),
                method=method,
                name=fields["name"],
                reference=fields.get("reference") or "",
                query=query,
                environ=environ,
            )
            return handler, request
        raise RefusedError(
            HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND,
            "UNSUPPORTED",
            f"the registry has no {method} of this path",
            headers=(("Allow", ", ".join(sorted(known))),) if known else (),
        )

    def _version(self, _request: Request) -> Reply:
        return _json({})

    def _catalog(self, request: Request) -> Reply:
        if request.registry.account_id != request.principal.account_id:
            raise denied("no policy of a registry lets another account list its repositories")
        with self._exclusive():
            names = sorted(ecr.backend_of(request.registry).repositories)
        return _page(request, "repositories", names, path="/v2/_catalog")

    def _tags(self, request: Request) -> Reply:
        with self._exclusive():
            images = self._repository(request).images
            tags = sorted(tag for image in images for tag in image.image_tags)
        return _page(request, "tags", tags, path=f"/v2/{request.name}/tags/list", name=request.name)

    def _get_manifest(self, request: Request) -> Reply:
        with self._exclusive():
            image = self._image(request)
            text, media_type = image.image_manifest, image.image_manifest_media_type
            digest = image.image_digest
        return Reply(
            status=HTTPStatus.OK,
            headers=(*HEADERS, ("Content-Type", media_type), ("Docker-Content-Digest", digest)),
            body=text.encode(),
        )

    def _put_manifest(self, request: Request) -> Reply:
        by_digest = _DIGEST.fullmatch(request.reference) is not None
        if not by_digest and not _TAG.fullmatch(request.reference):
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, "TAG_INVALID", f"Invalid image tag '{request.reference}'"
            )
        body: bytes = request.environ["wsgi.input"].read(LARGEST_MANIFEST + 1)
        if len(body) > LARGEST_MANIFEST or TOO_LARGE in request.environ:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "SIZE_INVALID", "the manifest exceeds 4 MiB"
            )
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", "the manifest is not UTF-8"
            ) from None
        with self._exclusive():
            digest = self._put_image(request, text, by_digest=by_digest)
        location = ("Location", f"/v2/{request.name}/manifests/{digest}")
        return Reply(
            status=HTTPStatus.CREATED, headers=(*HEADERS, location, ("Docker-Content-Digest", digest))
        )

    def _put_image(self, request: Request, text: str, *, by_digest: bool) -> str:
        self._repository(request)
        backend = ecr.backend_of(request.registry)
        tag = None if by_digest else request.reference
        media_type = request.header("CONTENT_TYPE").partition(";")[0].strip() or None
        digest = ecr.digest_of(text)
        try:
            backend.put_image(
                request.name,
                text,
                tag,
                image_manifest_mediatype=media_type,
                digest=request.reference if by_digest else None,
            )
        except ecr.AlreadyThereError:
            pass  # a client that pushes again what is there has what it wants
        except ServiceException as error:
            code = _CODES.get(error.code, "MANIFEST_INVALID")
            raise RefusedError(HTTPStatus.BAD_REQUEST, code, str(error.message)) from None
        return digest

    def _delete_manifest(self, request: Request) -> Reply:
        """https://github.com/aws/containers-roadmap/issues/1229 ."""
        with self._exclusive():
            self._image(request)
            key = "imageDigest" if _DIGEST.fullmatch(request.reference) else "imageTag"
            ecr.backend_of(request.registry).batch_delete_image(
                request.name, image_ids=[{key: request.reference}]
            )
        return Reply(status=HTTPStatus.ACCEPTED, headers=HEADERS)

    def _get_blob(self, request: Request) -> Reply:
        digest = _checked_digest(request.reference)
        with self._exclusive():
            size = self._repository(request).layers.get(digest)
        if size is None:
            raise RefusedError(
                HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", f"The layer with digest '{digest}' does not exist"
            )
        offset, length = _wanted_range(request.header("HTTP_RANGE"), size)
        partial = length != size
        span = (("Content-Range", f"bytes {offset}-{offset + length - 1}/{size}"),) if partial else ()
        return Reply(
            status=HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK,
            headers=(
                *HEADERS,
                ("Content-Type", "application/octet-stream"),
                ("Docker-Content-Digest", digest),
                ("Accept-Ranges", "bytes"),
                *span,
            ),
            file=FilePart(path=self._store.blob(digest), offset=offset, length=length),
        )

    def _start_upload(self, request: Request) -> Reply:
        with self._exclusive():
            layers = self._repository(request).layers
            mounted = self._mount(request, layers)
        if mounted is not None:
            return _created(request, mounted)
        if "digest" not in request.query:
            return _accepted(request, self._store.start(owner=request.owner))
        return self._commit(request, self._arrived(request))

    def _start_whole(self, request: Request) -> Upload | None:
        """The upload for a blob that comes with the request that starts it; None where none comes."""
        if "digest" not in request.query:
            return None
        with self._exclusive():
            layers = self._repository(request).layers
            if self._mount(request, layers) is not None:
                return None
        _checked_digest(request.query["digest"])
        return self._store.start(owner=request.owner)

    def _mount(self, request: Request, layers: dict[str, int]) -> str | None:
        """The digest, where the blob is mounted from another repository; else the client uploads it."""
        digest, source = request.query.get("mount"), request.query.get("from")
        if digest is None or source is None:
            return None
        other = ecr.backend_of(request.registry).repositories.get(source)
        if other is None or digest not in other.layers:
            return None
        try:
            ecr.authorize(other, account_id=request.principal.account_id, action=_ACTIONS["blobs/"]["GET"])
        except ecr.NotAuthorizedError:
            return None
        layers[digest] = other.layers[digest]
        return digest

    def _upload_status(self, request: Request) -> Reply:
        upload = self._upload(request)
        with suppress(BusyError, GoneError), upload.exclusive():
            pass  # a request whose client has left comes to its end first
        return Reply(status=HTTPStatus.NO_CONTENT, headers=_progress(request, upload.id, upload.offset))

    def _continue_upload(self, request: Request) -> Reply:
        return _accepted(request, self._arrived(request))

    def _finish_upload(self, request: Request) -> Reply:
        upload = self._arrived(request)
        _checked_digest(request.query.get("digest", ""))
        return self._commit(request, upload)

    def _cancel_upload(self, request: Request) -> Reply:
        upload = self._upload(request)
        try:
            with upload.exclusive():
                self._store.discard(upload)
        except GoneError:
            raise _no_upload(request) from None
        return Reply(status=HTTPStatus.NO_CONTENT, headers=HEADERS)

    def _arrived(self, request: Request) -> Upload:
        """The upload that has taken the body of this request."""
        upload: Upload = request.environ[_ARRIVED]
        if upload.failure is not None:
            self._store.discard(upload)
            raise _no_space(upload.failure)
        return upload

    def _commit(self, request: Request, upload: Upload) -> Reply:
        digest = request.query["digest"]
        if upload.failure is not None:
            self._store.discard(upload)
            raise _no_space(upload.failure)
        try:
            size = self._store.commit(upload, digest=digest)
        except GoneError:
            raise _no_upload(request) from None
        except DigestMismatchError as error:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST,
                "DIGEST_INVALID",
                f"The digest '{digest}' does not match '{error.found}', that of the bytes received",
            ) from None
        with self._exclusive():
            self._repository(request).layers[digest] = size
        return _created(request, digest)

    def _repository(self, request: Request) -> Any:
        found = ecr.backend_of(request.registry).repositories.get(request.name)
        if found is None:
            raise no_repository(request.name, account_id=request.registry.account_id)
        try:
            ecr.authorize(found, account_id=request.principal.account_id, action=_action(request))
        except ecr.NotAuthorizedError as error:
            raise denied(str(error.message)) from None
        return found

    def _image(self, request: Request) -> Any:
        is_digest = _DIGEST.fullmatch(request.reference) is not None
        tag, digest = (None, request.reference) if is_digest else (request.reference, None)
        try:
            return self._repository(request)._get_image(tag, digest)  # noqa: SLF001
        except ImageNotFoundException:
            raise RefusedError(
                HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "Requested image not found"
            ) from None

    def _upload(self, request: Request) -> Upload:
        with self._exclusive():
            self._repository(request)
        found = self._store.upload(request.reference, owner=request.owner)
        if found is None:
            raise _no_upload(request)
        return found


_CODES = {
    ecr.TagTakenError.code: "TAG_INVALID",
    ecr.MissingLayersError.code: "MANIFEST_BLOB_UNKNOWN",
    ecr.MissingImagesError.code: "MANIFEST_BLOB_UNKNOWN",
    ecr.DigestDiffersError.code: "DIGEST_INVALID",
}


def _principal(authorization: str) -> Principal:
    """Whose repositories the request opens; ECR takes nothing but Basic with its token."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise unauthorized("no basic auth credentials")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise unauthorized("Not Authorized") from None
    if user != USER:
        raise unauthorized("Not Authorized")
    try:
        return ecr.tokens.check(password)
    except ExpiredTokenError:
        raise unauthorized(
            "Your authorization token has expired. Reauthenticate and try again.", code="DENIED"
        ) from None
    except UnknownTokenError:
        raise unauthorized("Not Authorized") from None


def _registry(host: str, *, principal: Principal) -> Principal:
    """Whose registry the request's host names; by any other name it is that of the token's account."""
    found = _REGISTRY_HOST.fullmatch(host)
    if found is None:
        return principal
    named = Principal(account_id=found["account"], region=found["region"])
    if not ecr.is_region(named.region, account_id=principal.account_id):
        raise no_repository(host, account_id=named.account_id)
    return named


def _action(request: Request) -> str:
    """What somebody of another account must be allowed for the request.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
    """
    kind = str(request.environ["PATH_INFO"])[len(f"/v2/{request.name}/") :]
    for start, actions in _ACTIONS.items():
        if kind.startswith(start):
            return actions[request.method]
    raise RefusedError(HTTPStatus.NOT_FOUND, "UNSUPPORTED", f"nobody is known to be allowed {kind}")


@contextmanager
def _arriving(request: Request, upload: Upload) -> Iterator[IO[bytes]]:
    """Take a body into the upload, or read it to nowhere and have the request refused: it must be read before that."""
    request.environ[_ARRIVED] = upload
    try:
        with upload.appending(_chunk(request)) as file:
            yield file
    except (BusyError, GoneError, OutOfOrderError, SizeDiffersError, RefusedError) as error:
        request.environ[_REFUSED] = _refusal(request, upload, error)
        if not isinstance(error, SizeDiffersError):  # the others come before the first byte
            with Path(os.devnull).open("wb") as nowhere:
                yield nowhere


@contextmanager
def _refused(environ: dict[str, Any], error: RefusedError | OSError) -> Iterator[IO[bytes]]:
    """Read a body to nowhere, to refuse the request then."""
    environ[_REFUSED] = error
    with Path(os.devnull).open("wb") as nowhere:
        yield nowhere


def _refusal(request: Request, upload: Upload, error: Exception) -> RefusedError:
    """What a request is told whose body the upload has not taken."""
    match error:
        case RefusedError():
            return error
        case BusyError():
            return _conflict()
        case OutOfOrderError():
            return _out_of_order(request, upload.id, error.offset)
        case SizeDiffersError():
            return RefusedError(
                HTTPStatus.BAD_REQUEST,
                "SIZE_INVALID",
                f"the bytes are not as many as the request announces, or the blob exceeds {LARGEST_BLOB} bytes",
                headers=_progress(request, upload.id, upload.offset),
            )
        case _:
            return _no_upload(request)


def _chunk(request: Request) -> Chunk:
    """Where the body of a request belongs; raise RefusedError where its length is another than that of its range.

    A body without a Content-Range is the whole blob from its first byte on, but for the PUT that ends an upload.
    https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-a-blob-in-chunks
    """
    stated, length = request.header("HTTP_CONTENT_RANGE").strip(), str(request.environ["CONTENT_LENGTH"])
    if not stated:
        starts_at_once = request.method == "PATCH" and length != "0"
        return Chunk(start=0 if starts_at_once else None)
    found = _CONTENT_RANGE.fullmatch(stated)
    if found is None or int(found[1]) > int(found[2]):
        return Chunk(start=-1)  # which is nowhere
    span = int(found[2]) - int(found[1]) + 1
    if length not in {"", str(span)}:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST,
            "SIZE_INVALID",
            f"the Content-Range {stated} has {span} bytes, the Content-Length is {length}",
        )
    return Chunk(start=int(found[1]), length=span)


def _out_of_order(request: Request, upload_id: str, offset: int) -> RefusedError:
    stated = request.header("HTTP_CONTENT_RANGE")
    return RefusedError(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "BLOB_UPLOAD_INVALID",
        f"the next byte of the upload is {offset}, the chunk is {stated[:64] or 'one that starts at 0'}",
        headers=_progress(request, upload_id, offset),
    )


def _conflict() -> RefusedError:
    return RefusedError(HTTPStatus.CONFLICT, "BLOB_UPLOAD_INVALID", "another request writes to the upload")


def _no_upload(request: Request) -> RefusedError:
    return RefusedError(
        HTTPStatus.NOT_FOUND,
        "BLOB_UPLOAD_UNKNOWN",
        f"there is no upload {request.reference} in the repository '{request.name}'",
    )


def _checked_digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", f"Invalid digest '{text}': sha256:… is expected"
        )
    return text


def _wanted_range(header: str, size: int) -> tuple[int, int]:
    """Offset and length of what a Range header wants; the whole where there is none. RFC 9110, section 14."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or found[0] == "bytes=-" or not size:
        return 0, size
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    else:  # the last bytes
        first, last = max(size - int(found[2]), 0), size - 1
    if first >= size or last < first:
        raise RefusedError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "SIZE_INVALID",
            f"the blob has {size} bytes",
            headers=(("Content-Range", f"bytes */{size}"),),
        )
    return first, last - first + 1


def _progress(request: Request, upload_id: str, offset: int) -> tuple[tuple[str, str], ...]:
    return (
        *HEADERS,
        ("Location", f"/v2/{request.name}/blobs/uploads/{upload_id}"),
        ("Range", f"0-{max(offset - 1, 0)}"),
        ("Docker-Upload-UUID", upload_id),
    )


def _accepted(request: Request, upload: Upload) -> Reply:
    return Reply(status=HTTPStatus.ACCEPTED, headers=_progress(request, upload.id, upload.offset))


def _created(request: Request, digest: str) -> Reply:
    location = ("Location", f"/v2/{request.name}/blobs/{digest}")
    return Reply(status=HTTPStatus.CREATED, headers=(*HEADERS, location, ("Docker-Content-Digest", digest)))


def _no_space(error: OSError) -> RefusedError:
    """The disk of the local AWS is full, or otherwise at fault."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    reason = "there is no space left on its disk" if full else str(error.strerror or error)
    return RefusedError(
        HTTPStatus.INSUFFICIENT_STORAGE, "UNKNOWN", f"the local AWS cannot keep the blob: {reason}"
    )


def _page(request: Request, key: str, values: list[str], *, path: str, name: str | None = None) -> Reply:
    """A page of a list: `n` entries after `last`, with a link to the next."""
    asked = request.query.get("n", "")
    count = min(int(asked), _PAGE) if _COUNT.fullmatch(asked) else _PAGE
    rest = [value for value in values if value > request.query.get("last", "")]
    shown = rest[:count]
    more = len(rest) > count and shown
    link = (("Link", f'<{path}?n={count}&last={shown[-1]}>; rel="next"'),) if more else ()
    return _json({**({"name": name} if name else {}), key: shown}, headers=link)


def _json(document: dict[str, Any], *, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    return Reply(
        status=HTTPStatus.OK,
        headers=(*HEADERS, ("Content-Type", "application/json"), *headers),
        body=json.dumps(document).encode(),
    )

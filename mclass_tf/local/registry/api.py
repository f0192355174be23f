"""The OCI distribution API of the registry: its routes, manifests and blobs.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md . The token names the
account and region of the client. Repositories and manifests are in moto, blobs in the store.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import IO, Any
from urllib.parse import parse_qs

from mclass_tf.local.aws.ecr import backend as ecr
from mclass_tf.local.http.server import TOO_LARGE, FilePart, Reply, json_reply
from mclass_tf.local.registry.refusal import HEADERS, OciError, denied
from mclass_tf.local.registry.replies import conflict, no_space, page
from mclass_tf.local.registry.repositories import Repositories
from mclass_tf.local.registry.request import (
    DIGEST,
    OciRequest,
    accepts,
    byte_range,
    checked_digest,
    principal_of,
    registry_of,
)
from mclass_tf.local.registry.store import BlobStore, UploadBusyError
from mclass_tf.local.registry.uploads import REFUSED, BlobUploads, refused

_log = logging.getLogger("mclass_tf.local")

_NAME = r"/v2/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
LARGEST_MANIFEST = 4 * 1024 * 1024
_WITH_BODY = frozenset(["PATCH", "POST", "PUT"])
_UPLOADS = re.compile(f"{_NAME}/blobs/uploads/")


class RegistryApi:
    """Answers requests below `/v2/`, and no others. `exclusive` locks moto's state."""

    def __init__(self, *, store: BlobStore, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self._store = store
        self._repositories = Repositories(exclusive)
        self._uploads = BlobUploads(store=store, repositories=self._repositories)
        self._routes: tuple[tuple[re.Pattern[str], dict[str, Callable[[OciRequest], Reply]]], ...] = (
            (re.compile(r"/v2/?(?P<name>)"), {"GET": self._version}),
            (re.compile(r"/v2/_catalog(?P<name>)"), {"GET": self._catalog}),
            (re.compile(f"{_NAME}/tags/list"), {"GET": self._tags}),
            (
                re.compile(f"{_NAME}/manifests/(?P<reference>[^/]+)"),
                {"GET": self._get_manifest, "PUT": self._put_manifest, "DELETE": self._delete_manifest},
            ),
            (re.compile(f"{_NAME}/blobs/uploads/?"), {"POST": self._uploads.start}),
            (
                re.compile(f"{_NAME}/blobs/uploads/(?P<reference>[0-9a-f-]+)"),
                {
                    "GET": self._uploads.status,
                    "PATCH": self._uploads.resume,
                    "PUT": self._uploads.finish,
                    "DELETE": self._uploads.cancel,
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

    def precheck(self, environ: dict[str, Any]) -> Reply | None:
        """Refuse a request without a valid token by its head; None otherwise."""
        try:
            principal_of(str(environ.get("HTTP_AUTHORIZATION", "")))
        except OciError as error:
            return error.reply()
        return None

    def sink(self, environ: dict[str, Any]) -> AbstractContextManager[IO[bytes]] | None:
        """Stream the bytes of an upload to its file. If the request is invalid, discard them; `answer` then refuses it."""
        if environ["REQUEST_METHOD"] not in _WITH_BODY or not _UPLOADS.match(str(environ["PATH_INFO"])):
            return None
        try:
            _, request = self._route(environ)
            return self._uploads.sink(request)
        except (OciError, OSError) as error:
            return refused(environ, error)

    def _reply(self, environ: dict[str, Any]) -> Reply:
        try:
            if REFUSED in environ:
                raise environ[REFUSED]
            handler, request = self._route(environ)
            return handler(request)
        except OciError as error:
            return error.reply()
        except UploadBusyError:
            return conflict().reply()
        except OSError as error:
            return no_space(error).reply()

    def _route(self, environ: dict[str, Any]) -> tuple[Callable[[OciRequest], Reply], OciRequest]:
        principal = principal_of(str(environ.get("HTTP_AUTHORIZATION", "")))
        method = str(environ["REQUEST_METHOD"])
        known: set[str] = set()
        for pattern, handlers in self._routes:
            match = pattern.fullmatch(str(environ["PATH_INFO"]))
            if match is None:
                continue
            known |= {"HEAD", *handlers} if "GET" in handlers else {*handlers}
            handler = handlers.get("GET" if method == "HEAD" else method)
            if handler is None:
                continue
            query = {key: values[0] for key, values in parse_qs(str(environ["QUERY_STRING"])).items()}
            fields = match.groupdict()
            request = OciRequest(
                principal=principal,
                registry=registry_of(str(environ.get("HTTP_HOST", "")), principal=principal),
                method=method,
                name=fields["name"],
                reference=fields.get("reference") or "",
                query=query,
                environ=environ,
            )
            return handler, request
        raise OciError(
            HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND,
            "UNSUPPORTED",
            f"the registry has no {method} of this path",
            headers=(("Allow", ", ".join(sorted(known))),) if known else (),
        )

    def _version(self, _request: OciRequest) -> Reply:
        return json_reply(HTTPStatus.OK, {}, headers=HEADERS)

    def _catalog(self, request: OciRequest) -> Reply:
        if request.registry.account_id != request.principal.account_id:
            raise denied("no policy of a registry lets another account list its repositories")
        with self._repositories.exclusive():
            names = sorted(ecr.backend_of(request.registry).repositories)
        return page(request, "repositories", names, path="/v2/_catalog")

    def _tags(self, request: OciRequest) -> Reply:
        with self._repositories.exclusive():
            images = self._repositories.of(request).images
            tags = sorted(tag for image in images for tag in image.image_tags)
        return page(request, "tags", tags, path=f"/v2/{request.name}/tags/list", name=request.name)

    def _get_manifest(self, request: OciRequest) -> Reply:
        with self._repositories.exclusive():
            image = self._repositories.image(request)
            text, media_type = image.image_manifest, image.image_manifest_media_type
            digest = image.image_digest
        if not accepts(request.header("HTTP_ACCEPT"), media_type):
            raise OciError(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "Requested image not found")
        return Reply(
            status=HTTPStatus.OK,
            headers=(*HEADERS, ("Content-Type", media_type), ("Docker-Content-Digest", digest)),
            body=text.encode(),
        )

    def _put_manifest(self, request: OciRequest) -> Reply:
        by_digest = DIGEST.fullmatch(request.reference) is not None
        if not by_digest and not _TAG.fullmatch(request.reference):
            raise OciError(HTTPStatus.BAD_REQUEST, "TAG_INVALID", f"Invalid image tag '{request.reference}'")
        body: bytes = request.environ["wsgi.input"].read(LARGEST_MANIFEST + 1)
        if len(body) > LARGEST_MANIFEST or TOO_LARGE in request.environ:
            raise OciError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "SIZE_INVALID", "the manifest exceeds 4 MiB")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise OciError(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", "the manifest is not UTF-8") from None
        with self._repositories.exclusive():
            digest = self._repositories.put_image(request, text, by_digest=by_digest)
        location = ("Location", f"/v2/{request.name}/manifests/{digest}")
        return Reply(
            status=HTTPStatus.CREATED, headers=(*HEADERS, location, ("Docker-Content-Digest", digest))
        )

    def _delete_manifest(self, request: OciRequest) -> Reply:
        """https://github.com/aws/containers-roadmap/issues/1229 ."""
        with self._repositories.exclusive():
            self._repositories.image(request)
            key = "imageDigest" if DIGEST.fullmatch(request.reference) else "imageTag"
            ecr.backend_of(request.registry).batch_delete_image(
                request.name, image_ids=[{key: request.reference}]
            )
        return Reply(status=HTTPStatus.ACCEPTED, headers=HEADERS)

    def _get_blob(self, request: OciRequest) -> Reply:
        digest = checked_digest(request.reference)
        with self._repositories.exclusive():
            size = self._repositories.of(request).layers.get(digest)
        if size is None:
            raise OciError(
                HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", f"The layer with digest '{digest}' does not exist"
            )
        offset, length = byte_range(request.header("HTTP_RANGE"), size)
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

"""Repositories and images of requests, in moto's ECR, subject to repository policies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any

from moto.core.exceptions import ServiceException
from moto.ecr.exceptions import ImageNotFoundException

from mclass_tf.local.aws.ecr import backend as ecr
from mclass_tf.local.registry.refusal import OciError, denied, no_repository
from mclass_tf.local.registry.request import ACTIONS, DIGEST, OciRequest, action_of

_CODES = {
    ecr.TagExistsError.code: "TAG_INVALID",
    ecr.MissingLayersError.code: "MANIFEST_BLOB_UNKNOWN",
    ecr.MissingImagesError.code: "MANIFEST_BLOB_UNKNOWN",
    ecr.DigestMismatchError.code: "DIGEST_INVALID",
}


class Repositories:
    """`exclusive` locks moto's state. Call all other methods within it."""

    def __init__(self, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        self.exclusive = exclusive

    def of(self, request: OciRequest) -> Any:
        """Return the repository. Raise OciError if it is missing or the client is not authorized."""
        repository = ecr.backend_of(request.registry).repositories.get(request.name)
        if repository is None:
            raise no_repository(request.name, account_id=request.registry.account_id)
        try:
            ecr.authorize(repository, account_id=request.principal.account_id, action=action_of(request))
        except ecr.NotAuthorizedError as error:
            raise denied(str(error.message)) from None
        return repository

    def image(self, request: OciRequest) -> Any:
        """Return the image of the tag or digest. Raise OciError if it is missing."""
        is_digest = DIGEST.fullmatch(request.reference) is not None
        tag, digest = (None, request.reference) if is_digest else (request.reference, None)
        try:
            return self.of(request)._get_image(tag, digest)  # noqa: SLF001
        except ImageNotFoundException:
            raise OciError(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "Requested image not found") from None

    def put_image(self, request: OciRequest, text: str, *, by_digest: bool) -> str:
        """Put a manifest; return its digest."""
        self.of(request)
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
        except ecr.ImageExistsError:
            pass  # a client that pushes again what is there has what it wants
        except ServiceException as error:
            code = _CODES.get(error.code, "MANIFEST_INVALID")
            raise OciError(HTTPStatus.BAD_REQUEST, code, str(error.message)) from None
        return digest

    def mount(self, request: OciRequest, layers: dict[str, int]) -> str | None:
        """Mount the blob from another repository and return its digest. Return None if the client must upload it."""
        digest, source = request.query.get("mount"), request.query.get("from")
        if digest is None or source is None:
            return None
        other = ecr.backend_of(request.registry).repositories.get(source)
        if other is None or digest not in other.layers:
            return None
        try:
            ecr.authorize(other, account_id=request.principal.account_id, action=ACTIONS["blobs/"]["GET"])
        except ecr.NotAuthorizedError:
            return None
        layers[digest] = other.layers[digest]
        return digest

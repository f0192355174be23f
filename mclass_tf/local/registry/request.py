"""Parses a request to the registry: the client, the owner of the registry, and the byte ranges."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from mclass_tf.local.access.registry_tokens import USER, ExpiredTokenError, Principal, UnknownTokenError
from mclass_tf.local.aws.ecr import backend as ecr
from mclass_tf.local.registry.refusal import OciError, no_repository, unauthorized
from mclass_tf.local.registry.store import Chunk

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:/.*)?", re.ASCII)
# ECR's real names are not loopback names, so guard.py refuses them. These are.
_REGISTRY_HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.localhost(?::\d+)?")
ACTIONS = {
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
class OciRequest:
    """An authenticated request. `principal` is the client, `registry` the owner of the registry."""

    principal: Principal
    registry: Principal
    method: str
    name: str
    reference: str
    query: dict[str, str]
    environ: dict[str, Any]

    @property
    def owner(self) -> str:
        """The owner of an upload: client and repository."""
        return f"{self.principal.account_id}/{self.registry.account_id}/{self.registry.region}/{self.name}"

    def header(self, name: str) -> str:
        return str(self.environ.get(name, ""))


def principal_of(authorization: str) -> Principal:
    """Return the client of a request. ECR accepts only Basic authentication with its token."""
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


def registry_of(host: str, *, principal: Principal) -> Principal:
    """Return the owner of the registry that the Host header names. For any other name it is the client."""
    host_parts = _REGISTRY_HOST.fullmatch(host)
    if host_parts is None:
        return principal
    named = Principal(account_id=host_parts["account"], region=host_parts["region"])
    if not ecr.is_region(named.region, account_id=principal.account_id):
        raise no_repository(host, account_id=named.account_id)
    return named


def action_of(request: OciRequest) -> str:
    """Return the action that a policy must allow to a client of another account.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
    """
    kind = str(request.environ["PATH_INFO"])[len(f"/v2/{request.name}/") :]
    for start, actions in ACTIONS.items():
        if kind.startswith(start):
            return actions[request.method]
    raise OciError(HTTPStatus.NOT_FOUND, "UNSUPPORTED", f"no action of ECR is known for {kind}")


def accepts(header: str, media_type: str) -> bool:
    """Return whether an Accept header names the media type of a manifest. A wildcard never stands for an index.

    ECR answers as if the image did not exist otherwise, and so do other registries: they must not send an index to a client
    that knows images alone. https://github.com/distribution/distribution/issues/3938
    """
    named = {part.partition(";")[0].strip() for part in header.split(",")} - {""}
    exact = named - {"*/*", "application/*"}
    return media_type in exact or (not exact and media_type not in ecr.INDEXES)


def chunk_of(request: OciRequest) -> Chunk:
    """Return the position of a request's body in the blob. Raise OciError if its length differs from its range.

    A body without a Content-Range starts at the first byte of the blob, except in the PUT that ends an upload.
    https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-a-blob-in-chunks
    """
    stated, length = request.header("HTTP_CONTENT_RANGE").strip(), str(request.environ["CONTENT_LENGTH"])
    if not stated:
        starts_at_once = request.method == "PATCH" and length != "0"
        return Chunk(start=0 if starts_at_once else None)
    match = _CONTENT_RANGE.fullmatch(stated)
    if match is None or int(match[1]) > int(match[2]):
        return Chunk(start=-1)  # matches no offset
    span = int(match[2]) - int(match[1]) + 1
    if length not in {"", str(span)}:
        raise OciError(
            HTTPStatus.BAD_REQUEST,
            "SIZE_INVALID",
            f"the Content-Range {stated} has {span} bytes, the Content-Length is {length}",
        )
    return Chunk(start=int(match[1]), length=span)


def checked_digest(text: str) -> str:
    if not DIGEST.fullmatch(text):
        raise OciError(
            HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", f"Invalid digest '{text}': sha256:… is expected"
        )
    return text


def byte_range(header: str, size: int) -> tuple[int, int]:
    """Return offset and length of a Range header; the whole blob without one. RFC 9110, section 14."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[0] == "bytes=-" or not size:
        return 0, size
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    else:  # the last bytes
        first, last = max(size - int(match[2]), 0), size - 1
    if first >= size or last < first:
        raise OciError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "SIZE_INVALID",
            f"the blob has {size} bytes",
            headers=(("Content-Range", f"bytes */{size}"),),
        )
    return first, last - first + 1

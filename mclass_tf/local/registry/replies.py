"""Replies of the registry, and the refusals of its uploads."""

from __future__ import annotations

import errno
import re
from http import HTTPStatus

from mclass_tf.local.http.server import Reply, json_reply
from mclass_tf.local.registry.refusal import HEADERS, OciError
from mclass_tf.local.registry.request import OciRequest
from mclass_tf.local.registry.store import Upload

_PAGE = 1000
_COUNT = re.compile(r"\d{1,9}", re.ASCII)


def page(request: OciRequest, key: str, values: list[str], *, path: str, name: str | None = None) -> Reply:
    """Return a page of a list: `n` entries after `last`, with a link to the next page."""
    limit = request.query.get("n", "")
    count = min(int(limit), _PAGE) if _COUNT.fullmatch(limit) else _PAGE
    rest = [value for value in values if value > request.query.get("last", "")]
    shown = rest[:count]
    more = len(rest) > count and shown
    link = (("Link", f'<{path}?n={count}&last={shown[-1]}>; rel="next"'),) if more else ()
    document = {**({"name": name} if name else {}), key: shown}
    return json_reply(HTTPStatus.OK, document, headers=(*HEADERS, *link))


def created(request: OciRequest, digest: str) -> Reply:
    location = ("Location", f"/v2/{request.name}/blobs/{digest}")
    return Reply(status=HTTPStatus.CREATED, headers=(*HEADERS, location, ("Docker-Content-Digest", digest)))


def accepted(request: OciRequest, upload: Upload) -> Reply:
    return Reply(status=HTTPStatus.ACCEPTED, headers=progress(request, upload.id, upload.offset))


def progress(request: OciRequest, upload_id: str, offset: int) -> tuple[tuple[str, str], ...]:
    return (
        *HEADERS,
        ("Location", f"/v2/{request.name}/blobs/uploads/{upload_id}"),
        ("Range", f"0-{max(offset - 1, 0)}"),
        ("Docker-Upload-UUID", upload_id),
    )


def out_of_order(request: OciRequest, upload_id: str, offset: int) -> OciError:
    stated = request.header("HTTP_CONTENT_RANGE")
    return OciError(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "BLOB_UPLOAD_INVALID",
        f"the next byte of the upload is {offset}, the chunk is {stated[:64] or 'one that starts at 0'}",
        headers=progress(request, upload_id, offset),
    )


def conflict() -> OciError:
    return OciError(HTTPStatus.CONFLICT, "BLOB_UPLOAD_INVALID", "another request writes to the upload")


def no_upload(request: OciRequest) -> OciError:
    return OciError(
        HTTPStatus.NOT_FOUND,
        "BLOB_UPLOAD_UNKNOWN",
        f"there is no upload {request.reference} in the repository '{request.name}'",
    )


def no_space(error: OSError) -> OciError:
    """Return the refusal when the disk of the local AWS is full or fails."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    reason = "there is no space left on its disk" if full else str(error.strerror or error)
    return OciError(
        HTTPStatus.INSUFFICIENT_STORAGE, "UNKNOWN", f"the local AWS cannot keep the blob: {reason}"
    )

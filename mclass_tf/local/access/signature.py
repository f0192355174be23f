"""Parses and verifies Signature Version 4 of requests.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html . botocore's code signs a request
before it is sent. Verification needs the received bytes, and the headers that the client chose to sign.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import IO, Any
from urllib.parse import parse_qsl, quote

from botocore.utils import normalize_url_path

from mclass_tf.local.access import post_form
from mclass_tf.local.access.post_form import PostForm

ALGORITHM = "AWS4-HMAC-SHA256"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_TIME = "%Y%m%dT%H%M%SZ"
_SCOPE = re.compile(
    r"(?P<key>[\w-]{1,128})/(?P<date>\d{8})/(?P<region>[\w-]+)/(?P<service>[\w-]+)/aws4_request", re.ASCII
)
_HASH = re.compile(r"[0-9a-f]{64}")
# All other services encode the path twice.
_PATH_AS_SENT = frozenset({"s3", "s3-object-lambda", "s3-outposts", "s3express"})
_LONGEST_EXPIRY = 7 * 24 * 3600
_PIECE = 1024 * 1024


class MalformedSignatureError(Exception):
    """The signature of the request cannot be parsed. The message is AWS's."""


class UnsupportedMechanismError(Exception):
    """The request is not signed with Signature Version 4."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A parsed signature. `scope` is `DATE/REGION/SERVICE/aws4_request`, `time` is the time of signing.

    `expires_at` is that of a presigned URL, in seconds since the epoch; None for a signature in the Authorization header.
    """

    access_key_id: str
    scope: str
    service: str
    time: str
    signed_headers: tuple[str, ...]
    value: str
    token: str
    expires_at: float | None = None
    form: PostForm | None = None

    @property
    def is_presigned(self) -> bool:
        return self.expires_at is not None

    @property
    def authorization(self) -> str:
        """The signature as an Authorization header, even if it came in a presigned URL."""
        names = ";".join(self.signed_headers)
        credential = f"{self.access_key_id}/{self.scope}"
        return f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={self.value}"

    def matches(self, environ: Mapping[str, Any], *, secret: str) -> bool:
        """Return whether the received request was signed with the secret."""
        if self.form is not None:
            return hmac.compare_digest(self._sign(self.form.policy, secret=secret), self.value)
        payload = _payload(environ, self)
        if payload is None:
            return False
        request = "\n".join(
            (
                str(environ["REQUEST_METHOD"]),
                _path(environ, self.service),
                _query(environ),
                *(f"{name}:{_header(environ, name)}" for name in self.signed_headers),
                "",
                ";".join(self.signed_headers),
                payload,
            )
        )
        # Headers are decoded as Latin-1; encoding restores the signed bytes.
        digest = hashlib.sha256(request.encode("latin-1", "replace")).hexdigest()
        text = f"{ALGORITHM}\n{self.time}\n{self.scope}\n{digest}"
        return hmac.compare_digest(self._sign(text, secret=secret), self.value)

    def _sign(self, text: str, *, secret: str) -> str:
        key = f"AWS4{secret}".encode()
        for part in self.scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def read(environ: Mapping[str, Any]) -> Signature | None:
    """Return the signature of a request; None if it is unsigned.

    Raise MalformedSignatureError or UnsupportedMechanismError.
    """
    header = str(environ.get("HTTP_AUTHORIZATION", ""))
    if header:
        return _of_header(environ, header)
    form = post_form.read(environ)
    if form is not None:
        return _of_form(form)
    query = str(environ.get("QUERY_STRING", ""))
    if "X-Amz-Credential=" in query:
        return _of_url(dict(parse_qsl(query, keep_blank_values=True)))
    if "AWSAccessKeyId=" in query:
        raise UnsupportedMechanismError
    return None


def _of_header(environ: Mapping[str, Any], header: str) -> Signature:
    algorithm, _, rest = header.partition(" ")
    if algorithm != ALGORITHM:
        raise UnsupportedMechanismError
    fields = dict(field.strip().partition("=")[::2] for field in rest.split(","))
    try:
        credential, names, value = fields["Credential"], fields["SignedHeaders"], fields["Signature"]
    except KeyError as error:
        raise MalformedSignatureError(f"Authorization header requires {error} parameter.") from None
    return _signature(
        credential=credential,
        names=names,
        value=value,
        time=str(environ.get("HTTP_X_AMZ_DATE", "")),
        token=str(environ.get("HTTP_X_AMZ_SECURITY_TOKEN", "")),
    )


def _of_url(query: Mapping[str, str]) -> Signature:
    if query.get("X-Amz-Algorithm") != ALGORITHM:
        raise UnsupportedMechanismError
    seconds = query.get("X-Amz-Expires", "")
    if not (seconds.isascii() and seconds.isdecimal() and 0 < int(seconds[:9]) <= _LONGEST_EXPIRY):
        raise MalformedSignatureError("X-Amz-Expires must be a number of seconds, at most a week")
    return _signature(
        credential=query["X-Amz-Credential"],
        names=query.get("X-Amz-SignedHeaders", ""),
        value=query.get("X-Amz-Signature", ""),
        time=query.get("X-Amz-Date", ""),
        token=query.get("X-Amz-Security-Token", ""),
        seconds=int(seconds),
    )


def _of_form(form: PostForm) -> Signature:
    """Return the signature of a presigned POST, which covers the policy in the form and nothing else."""
    if form.fields.get("x-amz-algorithm") != ALGORITHM:
        raise UnsupportedMechanismError
    try:
        expires_at = form.expires_at
    except ValueError as error:
        raise MalformedSignatureError(f"Invalid Policy: {error}") from None
    signature = _signature(
        credential=form.fields.get("x-amz-credential", ""),
        names="host",
        value=form.fields.get("x-amz-signature", ""),
        time=form.fields.get("x-amz-date", ""),
        token=form.fields.get("x-amz-security-token", ""),
    )
    return replace(signature, expires_at=expires_at, form=form)


def _signature(
    *, credential: str, names: str, value: str, time: str, token: str, seconds: int | None = None
) -> Signature:
    scope = _SCOPE.fullmatch(credential)
    if scope is None:
        raise MalformedSignatureError(
            "Credential must have exactly 5 slash-delimited elements: keyid/date/region/service/term"
        )
    try:
        signed_at = dt.datetime.strptime(time, _TIME).replace(tzinfo=dt.UTC).timestamp()
    except ValueError:
        raise MalformedSignatureError(
            "Authorization header requires existence of X-Amz-Date header"
        ) from None
    signed_headers = tuple(names.split(";"))
    if not time.startswith(scope["date"]) or "host" not in signed_headers or not _HASH.fullmatch(value):
        raise MalformedSignatureError("'Host' must be a signed header, and the date that of the credential")
    return Signature(
        access_key_id=scope["key"],
        scope=credential.partition("/")[2],
        service=scope["service"].lower(),
        time=time,
        signed_headers=signed_headers,
        value=value,
        token=token,
        expires_at=None if seconds is None else signed_at + seconds,
    )


def _path(environ: Mapping[str, Any], service: str) -> str:
    path = str(environ.get("RAW_URI") or quote(str(environ["PATH_INFO"]), encoding="latin-1", safe="/~"))
    path = path.partition("?")[0] or "/"
    return path if service in _PATH_AS_SENT else quote(normalize_url_path(path), safe="/~")


def _query(environ: Mapping[str, Any]) -> str:
    query = str(environ.get("QUERY_STRING", ""))
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&")) if query else []
    return "&".join(f"{name}={value}" for name, value in pairs if name != "X-Amz-Signature")


def _header(environ: Mapping[str, Any], name: str) -> str:
    key = name.upper().replace("-", "_")
    value = environ.get(key if key in {"CONTENT_LENGTH", "CONTENT_TYPE"} else f"HTTP_{key}", "")
    return " ".join(str(value).split())


def _payload(environ: Mapping[str, Any], signature: Signature) -> str | None:
    """Return the payload hash of the canonical request; None if the body does not match the stated hash.

    Signatures of the chunks of a streaming upload (STREAMING-…) are not verified.
    """
    stated = str(environ.get("HTTP_X_AMZ_CONTENT_SHA256", ""))
    if not stated and signature.is_presigned:
        return _UNSIGNED
    if stated and not _HASH.fullmatch(stated):
        return stated
    body_hash = _hash(environ["wsgi.input"])
    return body_hash if stated in {"", body_hash} else None


def _hash(body: IO[bytes]) -> str:
    hashed = hashlib.sha256()
    while piece := body.read(_PIECE):
        hashed.update(piece)
    body.seek(0)
    return hashed.hexdigest()

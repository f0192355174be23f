"""Helpers that call a local AWS as its owner: with its key, at its admin endpoint, or with a hand-signed request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from mclass_tf.local import LocalAws, loopback
from mclass_tf.local.access.key import AccessKey

_SECONDS = 30


def owner(key: AccessKey) -> dict[str, str]:
    """The credentials with which boto3 signs as the owner."""
    return {"aws_access_key_id": key.access_key_id, "aws_secret_access_key": key.secret_access_key}


def ask(server: LocalAws, path: str, body: Any = None) -> Any:
    """Return the admin endpoint's answer to the owner: to a PUT with a body, else to a GET."""
    method = "GET" if body is None else "PUT"
    url = f"{server.url}/_mclass/{path}"
    return loopback.ask(url, seconds=_SECONDS, key=server.key, method=method, body=body)


def signed(
    credentials: Credentials,
    service: str,
    url: str,
    *,
    region: str,
    method: str = "POST",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the headers of a request that botocore has signed."""
    request = AWSRequest(method=method, url=url, data=body, headers=dict(headers or {}))
    (S3SigV4Auth if service == "s3" else SigV4Auth)(credentials, service, region).add_auth(request)
    return dict(request.headers.items())

"""Calls of a local AWS as its owner makes them: its key, its admin endpoint, requests that are signed by hand."""

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
    """What boto3 signs with as the owner."""
    return {"aws_access_key_id": key.access_key_id, "aws_secret_access_key": key.secret_access_key}


def ask(server: LocalAws, path: str, body: Any = None) -> Any:
    """Return what the admin endpoint answers to the owner: to a PUT, where there is a body."""
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

"""The local AWS in the process of the tests: its calls through boto3, its state and its lock at hand."""

from __future__ import annotations

import io
import itertools
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import AWSRequest, AWSResponse, HeadersDict
from botocore.config import Config
from botocore.credentials import Credentials

from mclass_tf.local.access import key
from mclass_tf.local.aws.api.dispatch import AwsApi
from mclass_tf.local.http.server import Reply, Server
from mclass_tf.local.server import MOTO_ENVIRONMENT
from tests.callers import signed

REGION = "ap-northeast-2"

KEY = key.make()
"""That of the owner."""
_numbers = itertools.count()
_URL = "http://127.0.0.1:1"  # nothing listens there: every request is answered before it is sent


@cache
def aws() -> AwsApi:
    """The one of this process: moto's backends are the process's too."""
    for name, value in MOTO_ENVIRONMENT.items():
        if name.startswith("MOTO_") or name in {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}:
            os.environ.setdefault(name, value)
    return AwsApi(key=KEY)


def new_account() -> str:
    """An account that no other test of this process uses."""
    return f"{400_000_000_000 + next(_numbers)}"


@lru_cache(maxsize=64)
def client(account_id: str, service: str, *, region: str = REGION) -> Any:
    """A client whose calls act in that account."""
    keys = _keys(account_id)
    return _client(service, region, keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


@contextmanager
def serving() -> Iterator[str]:
    """Serve it on a port; yield its URL."""
    server = Server(listener=socket.create_server(("127.0.0.1", 0)), app=aws().answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def owner() -> Any:
    """Return a client of STS with the owner's key."""
    return owner_in(REGION)


@cache
def owner_in(region: str) -> Any:
    return _client("sts", region, KEY.access_key_id, KEY.secret_access_key, None)


def client_of(service: str, credentials: Mapping[str, Any]) -> Any:
    """Return a client with credentials as STS returns them."""
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    return _client(service, REGION, *(str(credentials[name]) for name in names))


def identity(key_id: str, secret: str, token: str | None) -> Mapping[str, str]:
    """Who the credentials say that one is."""
    found: Mapping[str, str] = _client("sts", REGION, key_id, secret, token).get_caller_identity()
    return found


def session(account_id: str) -> tuple[str, str, str]:
    """Return the key, the secret and the token of a session in that account."""
    keys = _keys(account_id)
    return keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]


def send(
    account_id: str,
    service: str,
    target: str,
    body: bytes,
    *,
    region: str = REGION,
    encoding: str = "identity",
    secret: str | None = None,
) -> Reply:
    """Send a call of a JSON service as it stands, past all that an SDK checks; `target` is its `X-Amz-Target`.

    It is signed with the account's own secret where no other is given.
    """
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    headers["Content-Encoding"] = encoding
    return _send(account_id, service, body, headers=headers, region=region, secret=secret)


def send_form(
    account_id: str, service: str, body: bytes, *, encoding: str = "identity", secret: str | None = None
) -> Reply:
    """Send a call of a service of the query protocol as it stands."""
    form = "application/x-www-form-urlencoded; charset=utf-8"
    headers = {"Content-Type": form, "Content-Encoding": encoding}
    return _send(account_id, service, body, headers=headers, region=REGION, secret=secret)


def _send(
    account_id: str,
    service: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    region: str,
    secret: str | None,
) -> Reply:
    key_id, own, token = session(account_id)
    credentials = Credentials(key_id, secret or own, token)
    signature = signed(credentials, service, f"{_URL}/", region=region, body=body, headers=headers)
    request = AWSRequest(method="POST", url=f"{_URL}/", data=body, headers=signature)
    return aws().answer(_environ(request.prepare()))


@cache
def _keys(account_id: str) -> Mapping[str, str]:
    sts = _client("sts", REGION, KEY.access_key_id, KEY.secret_access_key, None)
    answer = sts.assume_role(RoleArn=f"arn:aws:iam::{account_id}:role/tests", RoleSessionName="tests")
    keys: Mapping[str, str] = answer["Credentials"]
    return keys


def _client(service: str, region: str, key_id: str, secret: str, token: str | None) -> Any:
    factory: Any = boto3.client
    made = factory(
        service,
        endpoint_url=_URL,
        region_name=region,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )
    made.meta.events.register("before-send", _answer)
    return made


def _answer(request: Any, **_kwargs: Any) -> AWSResponse:
    reply = aws().answer(_environ(request))
    headers: Any = HeadersDict(dict(reply.headers))
    return AWSResponse(request.url, reply.status, headers, _Raw(reply.body))


class _Raw(io.BytesIO):
    """A body as botocore reads it from a connection."""

    def stream(self, **_kwargs: Any) -> Any:
        while piece := self.read(65536):
            yield piece


def _environ(request: Any) -> dict[str, Any]:
    url = urlsplit(request.url)
    body = request.body.encode() if isinstance(request.body, str) else request.body or b""
    body = body if isinstance(body, bytes) else body.read()
    headers = {
        f"HTTP_{name.upper().replace('-', '_')}": value.decode() if isinstance(value, bytes) else value
        for name, value in request.headers.items()
    }
    return {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": url.path or "/",
        "QUERY_STRING": url.query,
        "RAW_URI": f"{url.path or '/'}{'?' if url.query else ''}{url.query}",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": headers.get("HTTP_CONTENT_TYPE", ""),
        "HTTP_HOST": url.netloc,
        **headers,
    }

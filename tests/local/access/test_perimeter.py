"""Only holders of a key of this instance have access, and no other users of the machine."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from mclass_tf import local
from mclass_tf.local.aws.sts import RoleSession, sessions
from tests.callers import owner, signed
from tests.local import in_process
from tests.local.conftest import REGION, Account

_LIST_CLUSTERS = "AmazonEC2ContainerServiceV20141113.ListClusters"
_ONE_TRY = Config(retries={"total_max_attempts": 1})
_STRANGER = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
_GUESSED = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "x" * 40}

# By service: a call, and AWS's own code and status for a key that it does not know.
_REFUSALS: dict[str, tuple[str, dict[str, Any], str, int]] = {
    "acm": ("list_certificates", {}, "UnrecognizedClientException", 400),
    "ec2": ("describe_vpcs", {}, "AuthFailure", 401),
    "ecr": ("get_authorization_token", {}, "UnrecognizedClientException", 400),
    "ecs": ("list_clusters", {}, "UnrecognizedClientException", 400),
    "elbv2": ("describe_load_balancers", {}, "InvalidClientTokenId", 403),
    "iam": ("list_roles", {}, "InvalidClientTokenId", 403),
    "lambda": ("list_functions", {}, "UnrecognizedClientException", 403),
    "logs": ("describe_log_groups", {}, "UnrecognizedClientException", 400),
    "s3": ("list_buckets", {}, "InvalidAccessKeyId", 403),
    "sts": ("assume_role", {"RoleArn": "arn:aws:iam::111111111111:role/x", "RoleSessionName": "xx"}, "InvalidClientTokenId", 403),
}  # fmt: skip


def _client(server: local.LocalAws, service: str, credentials: Mapping[str, str | None], **more: Any) -> Any:
    factory: Any = boto3.client
    config = _ONE_TRY.merge(Config(**more))
    return factory(service, endpoint_url=server.url, region_name=REGION, config=config, **credentials)


def _refused(call: Callable[[], Any]) -> tuple[str, int]:
    with pytest.raises(ClientError) as error:
        call()
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


# ---- keys


@pytest.mark.parametrize("credentials", [_STRANGER, _GUESSED], ids=["test", "documented"])
@pytest.mark.parametrize("service", _REFUSALS)
def test_an_unknown_key_is_refused_as_by_aws(
    server: local.LocalAws, service: str, credentials: dict[str, str]
) -> None:
    method, parameters, code, status = _REFUSALS[service]

    client = _client(server, service, credentials)

    assert _refused(lambda: getattr(client, method)(**parameters)) == (code, status)


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ("ec2", "AuthFailure"),
        ("ecs", "InvalidSignatureException"),
        ("iam", "SignatureDoesNotMatch"),
        ("s3", "SignatureDoesNotMatch"),
    ],
)
def test_a_key_id_is_useless_without_its_secret(server: local.LocalAws, service: str, code: str) -> None:
    """Key ids are visible in logs, signed requests and presigned URLs."""
    method, parameters, _, _ = _REFUSALS[service]
    known = {"aws_access_key_id": server.key.access_key_id, "aws_secret_access_key": "x" * 40}

    client = _client(server, service, known)

    assert _refused(lambda: getattr(client, method)(**parameters))[0] == code


def test_a_session_needs_its_token(dev: Account) -> None:
    keys = {"aws_access_key_id": dev.access_key, "aws_secret_access_key": dev.secret_key}

    for token in ({}, {"aws_session_token": "another"}):
        client = _client(dev.server, "sts", {**keys, **token})
        assert _refused(client.get_caller_identity) == ("InvalidClientTokenId", 403)


def test_the_owners_key_accepts_no_session_token(server: local.LocalAws) -> None:
    client = _client(server, "sts", {**owner(server.key), "aws_session_token": "any"})
    assert _refused(client.get_caller_identity) == ("InvalidClientTokenId", 403)


def test_a_request_without_a_signature_is_refused(server: local.LocalAws) -> None:
    body = b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn:aws:iam::111111111111:role/x"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    target = {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters"}

    signed_on_aws = body.replace(b"WithWebIdentity", b"")

    assert _send(server, "POST", "/", signed_on_aws, form) == (403, "MissingAuthenticationToken")
    assert _send(server, "POST", "/", body, form) == (400, "UnsupportedOperation")
    assert _send(server, "POST", "/", b"{}", target) == (400, "MissingAuthenticationTokenException")
    assert _send(server, "GET", "/some-bucket/some-key") == (403, "AccessDenied")
    assert _send(server, "GET", "/latest/meta-data/iam/security-credentials/default-role")[0] == 403


def _send(
    server: local.LocalAws, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """Return the status and the code of the error."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if text.startswith("{"):
        return response.status, str(json.loads(text).get("__type"))
    return response.status, text.partition("<Code>")[2].partition("<")[0]


@pytest.mark.parametrize(
    "header",
    [
        "AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=",
        "AWS4-HMAC-SHA256 Credential=KEY/20260101/us-east-1/s3/aws4_request",
        "AWS4-HMAC-SHA256 Credential=KEY/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256 Credential=KEY, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256",
        "AWS4-ECDSA-P256-SHA256 Credential=KEY/20260101/s3/aws4_request, SignedHeaders=host, Signature=x",
        "Basic QVdTOnRlc3Q=",
        "Bearer x",
        "\xff\xfe",
    ],
)
def test_a_malformed_signature_is_refused(server: local.LocalAws, header: str) -> None:
    header = header.replace("KEY", server.key.access_key_id)
    status, code = _send(server, "GET", "/some-bucket", headers={"Authorization": header})
    assert (status, code) in {(400, "AuthorizationHeaderMalformed"), (400, "InvalidRequest")}


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/other-bucket"},
        {"path": "/signed-bucket?policy"},
        {"method": "DELETE"},
        {"body": b"other"},
        {"headers": {"x-amz-acl": "public-read"}},
        {"headers": {"Host": "localhost"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_signature_is_valid_for_one_request_only(server: local.LocalAws, change: dict[str, Any]) -> None:
    credentials = Credentials(server.key.access_key_id, server.key.secret_access_key)
    url = f"{server.url}/signed-bucket"
    headers = signed(credentials, "s3", url, region=REGION, method="PUT", headers={"x-amz-acl": "private"})

    sent: dict[str, Any] = {"method": "PUT", "path": "/signed-bucket", "body": b"", **change}
    sent["headers"] = {**headers, **change.get("headers", {})}

    assert _send(server, **sent) == (403, "SignatureDoesNotMatch")


def test_a_client_does_not_choose_its_account(server: local.LocalAws) -> None:
    sts = _client(server, "sts", owner(server.key))

    def foist(request: Any, **_: Any) -> None:
        request.headers["x-moto-account-id"] = "999999999999"

    sts.meta.events.register("before-sign", foist)

    assert sts.get_caller_identity()["Account"] == "123456789012"


# ---- what is kept and handed out


def test_each_instance_has_a_key_of_its_own(server: local.LocalAws, tmp_path: Path) -> None:
    other = local.up(home=tmp_path, port=0)
    try:
        assert other.key.access_key_id != server.key.access_key_id
        client = _client(other, "sts", owner(server.key))
        assert _refused(client.get_caller_identity) == ("InvalidClientTokenId", 403)
    finally:
        local.down(home=tmp_path)


def test_only_the_owner_of_the_home_folder_can_read_the_key(
    server: local.LocalAws, server_home: Path
) -> None:
    for path in server_home.iterdir():
        if path.is_file() and server.key.secret_access_key.encode() in path.read_bytes():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert server.key.secret_access_key not in repr(server)
    assert server.key.secret_access_key not in json.dumps(server.document)
    for name in ("cmdline", "environ"):
        assert server.key.secret_access_key.encode() not in Path(f"/proc/{server.pid}/{name}").read_bytes()


@pytest.mark.parametrize("path", ["health", "clock", "load-balancers", "snapshot", "nothing"])
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer x", "Basic eDp5", "Bearer \xff"])
def test_only_the_owner_may_call_the_admin_endpoint(
    server: local.LocalAws, path: str, authorization: str
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    for method in ("GET", "PUT"):
        assert _send(server, method, f"/_mclass/{path}", b"{}", headers)[0] == 403


@pytest.mark.parametrize("path", ["/some-bucket/key", "/v2/web/blobs/uploads/", "/_mclass/snapshot"])
@pytest.mark.parametrize("size", [{"Content-Length": str(1 << 40)}, {"Transfer-Encoding": "chunked"}])
def test_a_large_body_of_an_unknown_caller_is_refused_unread(
    server: local.LocalAws, path: str, size: dict[str, str]
) -> None:
    """The body would fill the disk. The refusal arrives before the body is sent, and the connection ends."""
    head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "127.0.0.1", **size}.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        raw.sendall(f"PUT {path} HTTP/1.1\r\n{head}\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert int(answer.split()[1]) in {401, 403}


def test_a_signature_covers_the_body_as_sent() -> None:
    account = in_process.new_account()
    answer = in_process.send(account, "ecs", _LIST_CLUSTERS, gzip.compress(b"{}"), encoding="gzip")
    assert (answer.status, json.loads(answer.body)) == (200, {"clusterArns": []})


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"[" * 100_000)], ids=["no gzip", "deep"])
def test_no_body_is_processed_before_the_caller_is_verified(body: bytes) -> None:
    account = in_process.new_account()
    answer = in_process.send(account, "ecs", _LIST_CLUSTERS, body, encoding="gzip", secret="x" * 40)
    assert json.loads(answer.body)["__type"] == "InvalidSignatureException"

    answer = in_process.send(account, "ecs", _LIST_CLUSTERS, body, encoding="gzip")
    assert json.loads(answer.body)["__type"] == "SerializationException"


# ---- sessions


def test_a_session_expires() -> None:
    keys = in_process.session("300000000001")
    assert in_process.identity(*keys)["Account"] == "300000000001"
    session = sessions.find(keys[0])
    assert session is not None
    sessions.add(keys[0], _ended(session))

    with pytest.raises(ClientError, match="ExpiredToken"):
        in_process.identity(*keys)


def _ended(session: RoleSession) -> RoleSession:
    return RoleSession(**{**vars(session), "expires_at": time.time() - 1})


@pytest.mark.parametrize("call", ["get_session_token", "get_federation_token"])
def test_no_call_returns_a_well_known_key(server: local.LocalAws, call: str) -> None:
    sts = _client(server, "sts", owner(server.key))
    parameters = {"Name": "xx"} if call == "get_federation_token" else {}
    assert _refused(lambda: getattr(sts, call)(**parameters)) == ("UnsupportedOperation", 400)


# ---- presigned URLs


@pytest.fixture
def object_key(dev: Account) -> Iterator[str]:
    s3 = dev.client("s3")
    place = {"LocationConstraint": REGION}
    s3.create_bucket(Bucket="presigned", CreateBucketConfiguration=place)
    s3.put_object(Bucket="presigned", Key="a/b c+é.txt", Body=b"content")
    yield "a/b c+é.txt"
    s3.delete_object(Bucket="presigned", Key="a/b c+é.txt")
    s3.delete_bucket(Bucket="presigned")


def _presigned(dev: Account, key: str, *, seconds: int = 60, version: str = "s3v4") -> str:
    keys = {
        "aws_access_key_id": dev.access_key,
        "aws_secret_access_key": dev.secret_key,
        "aws_session_token": dev.session_token,
    }
    client = _client(dev.server, "s3", keys, signature_version=version)
    parameters = {"Bucket": "presigned", "Key": key}
    return str(client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds))


def test_a_presigned_url_gives_access_to_its_object(dev: Account, object_key: str) -> None:
    url = _presigned(dev, object_key)
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == b"content"
    for changed in (
        url.replace("presigned/", "presigned/other"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
    ):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(changed, timeout=30)
        assert (error.value.code, b"SignatureDoesNotMatch" in error.value.read()) == (403, True)
        error.value.close()


def test_a_presigned_url_expires(dev: Account, object_key: str) -> None:
    url = _presigned(dev, object_key, seconds=1)
    deadline = time.monotonic() + 30
    while True:
        parts = urlsplit(url)
        status, code = _send(dev.server, "GET", f"{parts.path}?{parts.query}")
        if status != 200:
            break
        assert time.monotonic() < deadline
    assert (status, code) == (403, "AccessDenied")


def test_signatures_of_version_2_are_refused_as_newer_regions_do(dev: Account, object_key: str) -> None:
    parts = urlsplit(_presigned(dev, object_key, version="s3"))
    assert _send(dev.server, "GET", f"{parts.path}?{parts.query}") == (400, "InvalidRequest")

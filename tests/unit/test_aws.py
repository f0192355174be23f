"""The clients: which settings they use, which servers they trust, and calls of ECS without a model."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    SSLError,
    SSOTokenLoadError,
    UnauthorizedSSOTokenError,
)

from mclass_tf.aws import Access, Aws, connect, error_code, is_transient, needs_sign_in, refusal
from mclass_tf.errors import ConfigurationError, CredentialsExpiredError, UnreachableError

KEYS: dict[str, Any] = {"access_key_id": "a", "secret_access_key": "b"}


def access(endpoint_url: str | None) -> Access:
    return Access(region="ap-northeast-2", endpoint_url=endpoint_url, **KEYS)


def test_with_own_credentials_a_missing_profile_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nonsense")

    client = Aws(access("http://127.0.0.1:4566")).s3

    assert client.meta.endpoint_url == "http://127.0.0.1:4566"


# Each stops botocore, or leads it elsewhere, where it is read.
SETTINGS = {
    "AWS_DATA_PATH": "/nonexistent",
    "AWS_DEFAULTS_MODE": "nonsense",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    "AWS_MAX_ATTEMPTS": "many",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "nonsense",
    "AWS_RETRY_MODE": "nonsense",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "AWS_USE_FIPS_ENDPOINT": "true",
}


def test_with_own_endpoint_and_credentials_no_setting_of_the_user_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("config", "credentials"):
        (tmp_path / name).write_text("[profile x\nregion =\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)

    aws = Aws(access("http://127.0.0.1:4566"))

    for client in (aws.s3, aws.ecs, aws.sts):
        assert client.meta.endpoint_url == "http://127.0.0.1:4566"
        assert client.meta.region_name == "ap-northeast-2"


def test_errors_in_the_users_settings_are_reported_if_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[profile x\nregion =\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    with pytest.raises(ConfigurationError, match=f"Unable to parse config file: {tmp_path}/config"):
        connect(Access(region="ap-northeast-2"), account_id="111111111111", role_arn=None)


def test_a_child_with_an_endpoint_and_credentials_reads_no_settings_of_the_user() -> None:
    assert access("http://127.0.0.1:4566").variables()["AWS_CONFIG_FILE"] == "/dev/null"
    assert access("http://127.0.0.1:4566").variables()["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"
    assert "AWS_CONFIG_FILE" not in access(None).variables(), "which may name the certificates of the network"


@pytest.mark.parametrize(
    ("endpoint", "verified"),
    [("http://127.0.0.1:4566", False), ("https://vpce.example.com", True), (None, True)],
)
def test_an_endpoint_with_tls_must_prove_its_identity(
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str | None,
    verified: bool,  # noqa: FBT001
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)

    client = Aws(access(endpoint)).s3

    assert bool(client._endpoint.http_session._verify) is verified  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["1.35.68", "1.34.162", "1.35.68.dev1"])
def test_a_botocore_without_conditional_writes_is_refused_before_anything_is_called(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr("botocore.__version__", version)

    with pytest.raises(ConfigurationError, match=f"botocore {version} is too old") as caught:
        connect(access("http://127.0.0.1:1"), account_id="111111111111", role_arn=None)
    assert "python -m pip install 'botocore>=1.35.69'" in caught.value.hint


@pytest.mark.parametrize("version", ["1.35.69", "1.36.0", "1.44.8", "2.0"])
def test_a_botocore_with_conditional_writes_is_accepted(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr("botocore.__version__", version)

    with pytest.raises(UnreachableError):
        connect(access("http://127.0.0.1:1"), account_id="111111111111", role_arn=None)


def test_the_installed_botocore_has_what_the_lease_needs() -> None:
    shape = Aws(access(None)).s3.meta.service_model.operation_model("PutObject").input_shape

    assert shape is not None
    assert {"IfMatch", "IfNoneMatch"} <= set(shape.members)


def test_a_refusal_by_aws_is_not_a_bug() -> None:
    answer = {"Error": {"Code": "AccessDenied", "Message": "not yours"}}

    error = refusal(ClientError(answer, "PutBucketPolicy"))  # type: ignore[arg-type]

    assert error is not None
    assert error.exit_code == 3
    assert "PutBucketPolicy" in str(error)
    assert "not yours" in str(error)


def test_a_lost_connection_to_aws_is_not_a_bug() -> None:
    error = refusal(ConnectTimeoutError(endpoint_url="https://s3.example.com"))

    assert error is not None
    assert error.exit_code == 3


EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")


@pytest.mark.parametrize("code", EXPIRED)
def test_a_session_that_has_ended_is_no_error_of_the_configuration(code: str) -> None:
    headers = {"date": format_datetime(dt.datetime.now(dt.UTC), usegmt=True)}
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPHeaders": headers}}

    error = refusal(ClientError(answer, "DescribeServices"))  # type: ignore[arg-type]

    assert isinstance(error, CredentialsExpiredError)
    assert "clock" not in error.hint


def test_a_request_that_ec2_calls_expired_for_a_wrong_clock_is_no_ended_session() -> None:
    there = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=20)
    headers = {"date": format_datetime(there, usegmt=True)}
    answer = {"Error": {"Code": "RequestExpired"}, "ResponseMetadata": {"HTTPHeaders": headers}}

    error = refusal(ClientError(answer, "DescribeVpcs"))  # type: ignore[arg-type]

    assert error is not None
    assert not isinstance(error, CredentialsExpiredError)
    assert "clock" in error.hint


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (UnauthorizedSSOTokenError(), True),
        (SSOTokenLoadError(error_msg="gone"), True),
        (CredentialRetrievalError(provider="custom-process", error_msg="expired"), True),
        (NoCredentialsError(), True),
        (RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whether_a_sign_in_helps_depends_on_the_source_of_the_credentials(
    error: Exception,
    waits: bool,  # noqa: FBT001
) -> None:
    assert isinstance(refusal(error), CredentialsExpiredError)
    assert needs_sign_in(error) is waits


def test_our_own_error_is_not_a_refusal_by_aws() -> None:
    assert refusal(KeyError("x")) is None


_DENIED = {"__type": "AccessDeniedException", "message": "not yours"}


class _Ecs(BaseHTTPRequestHandler):
    """Echoes each request, or returns an error if its name says so."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prefix, _, action = self.headers["X-Amz-Target"].partition(".")
        status, document = {
            "Deny": (400, _DENIED),
            "ListTasks": (400, _DENIED),
            "Throttle": (400, {"__type": "com.amazon.coral#ThrottlingException", "message": "Rate exceeded"}),
            "Break": (503, None),
        }.get(action, (200, {"prefix": prefix, "sent": body, "headers": dict(self.headers), "unknown": 1.5}))
        answer = b"<html>" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def ecs() -> Iterator[Aws]:
    server = HTTPServer(("127.0.0.1", 0), _Ecs)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Aws(access(f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_call_of_ecs_by_name_is_signed_and_returns_the_response_unchanged(ecs: Aws) -> None:
    answer = ecs.call_ecs("StopServiceDeployment", {"stopType": "ROLLBACK"})

    assert answer["prefix"] == "AmazonEC2ContainerServiceV20141113"
    assert answer["sent"] == {"stopType": "ROLLBACK"}
    assert answer["unknown"] == 1.5
    signed = answer["headers"]["Authorization"]
    assert signed.startswith("AWS4-HMAC-SHA256 Credential=a/")
    assert "/ap-northeast-2/ecs/aws4_request" in signed
    assert answer["headers"]["Content-Type"] == "application/x-amz-json-1.1"


def test_a_refused_call_of_ecs_is_an_error_like_any_other(ecs: Aws) -> None:
    with pytest.raises(ClientError, match="not yours") as caught:
        ecs.call_ecs("Deny", {})

    assert error_code(caught.value) == "AccessDeniedException"
    assert not is_transient(caught.value)


def test_an_observer_gets_each_call_with_its_request_and_its_answer(ecs: Aws) -> None:
    told: list[tuple[str, str, Any, Any]] = []
    ecs.calls.observe(lambda *call: told.append(call))

    ecs.call_ecs("StopServiceDeployment", {"stopType": "ROLLBACK"})
    ecs.ecs.describe_services(cluster="c", services=["s"])
    for refused in (lambda: ecs.call_ecs("Deny", {}), lambda: ecs.ecs.list_tasks(cluster="c")):
        with suppress(ClientError):
            refused()

    assert [(service, action, request) for service, action, request, _ in told] == [
        ("ecs", "StopServiceDeployment", {"stopType": "ROLLBACK"}),
        ("ecs", "DescribeServices", {"cluster": "c", "services": ["s"]}),
        ("ecs", "Deny", {}),
        ("ecs", "ListTasks", {"cluster": "c"}),
    ]
    assert told[0][3]["unknown"] == 1.5
    assert told[2][3]["Error"] == {"Code": "AccessDeniedException", "Message": "not yours"}
    assert told[3][3]["Error"]["Code"] == "AccessDeniedException"


@pytest.mark.parametrize("action", ["Throttle", "Break"])
def test_throttling_and_server_errors_are_transient(ecs: Aws, action: str) -> None:
    with pytest.raises(ClientError) as caught:
        ecs.call_ecs(action, {})

    assert is_transient(caught.value)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (EndpointConnectionError(endpoint_url="https://ecs"), True),
        (ConnectTimeoutError(endpoint_url="https://ecs"), True),
        (SSLError(endpoint_url="https://ecs", error=OSError("wrong certificate")), False),
        (KeyError("x"), False),
    ],
)
def test_only_a_lost_connection_is_transient(error: Exception, passes: bool) -> None:  # noqa: FBT001
    assert is_transient(error) is passes


@pytest.mark.parametrize("wrong_by", [0, 1200, -1200], ids=["right", "fast", "slow"])
def test_the_time_is_awss_whatever_the_clock_of_this_machine_says(
    monkeypatch: pytest.MonkeyPatch, wrong_by: int
) -> None:
    aws, true = Aws(access("http://127.0.0.1:9")), dt.datetime(2026, 11, 23, 1, 2, 3, tzinfo=dt.UTC)

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Clock:
            return cls.fromtimestamp((true + dt.timedelta(seconds=wrong_by)).timestamp(), tz)

    events = aws.ec2.meta.events
    module = SimpleNamespace(datetime=Clock, timedelta=dt.timedelta, UTC=dt.UTC)
    monkeypatch.setattr("mclass_tf.aws.clients.dt", module)
    assert aws.now() == true + dt.timedelta(seconds=wrong_by), "nobody has told it better"

    for late in (4, 0, 7):  # answers that were so long on their way
        date = format_datetime(true - dt.timedelta(seconds=late), usegmt=True)
        parsed = {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}
        events.emit("after-call.ec2.DescribeVpcs", parsed=parsed, context={}, http_response=None)
    for nothing in ({}, {"ResponseMetadata": {"HTTPHeaders": {"date": "soon"}}}):
        events.emit("after-call.ec2.DescribeVpcs", parsed=nothing, context={}, http_response=None)

    assert abs(aws.now() - true) < dt.timedelta(seconds=2)

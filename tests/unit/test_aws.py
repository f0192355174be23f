"""The clients: whose settings they heed, and whom they trust. None is called."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from mclass_tf.aws import Access, Aws, refusal

KEYS = {"access_key_id": "a", "secret_access_key": "b"}


def access(endpoint_url: str | None) -> Access:
    return Access(region="ap-northeast-2", endpoint_url=endpoint_url, **KEYS)


def test_with_credentials_of_its_own_a_profile_that_does_not_exist_is_no_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nonsense")

    client = Aws(access("http://127.0.0.1:4566")).s3

    assert client.meta.endpoint_url == "http://127.0.0.1:4566"


@pytest.mark.parametrize(
    ("endpoint", "verified"),
    [("http://127.0.0.1:4566", False), ("https://vpce.example.com", True), (None, True)],
)
def test_an_endpoint_with_tls_must_prove_who_it_is(
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str | None,
    verified: bool,  # noqa: FBT001
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)

    client = Aws(access(endpoint)).s3

    assert bool(client._endpoint.http_session._verify) is verified  # type: ignore[attr-defined]


def test_what_aws_refuses_is_no_bug_of_ours() -> None:
    answer = {"Error": {"Code": "AccessDenied", "Message": "not yours"}}

    error = refusal(ClientError(answer, "PutBucketPolicy"))  # type: ignore[arg-type]

    assert error is not None
    assert error.exit_code == 3
    assert "PutBucketPolicy" in str(error)
    assert "not yours" in str(error)


def test_an_aws_that_stops_answering_is_no_bug_of_ours() -> None:
    error = refusal(ConnectTimeoutError(endpoint_url="https://s3.example.com"))

    assert error is not None
    assert error.exit_code == 3


def test_an_error_of_ours_is_none_of_aws() -> None:
    assert refusal(KeyError("x")) is None

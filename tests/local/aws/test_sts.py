"""Role sessions end, name who acts, and are refused as by AWS."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf.local.aws.sts import sessions
from tests.local import in_process


@pytest.fixture
def account() -> str:
    return in_process.new_account()


@pytest.fixture
def limited() -> Iterator[Callable[[float], None]]:
    """Return a function that limits the life of sessions."""

    def limit(seconds: float) -> None:
        sessions.limit = seconds

    yield limit
    sessions.limit = None


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that moves the clock of the local AWS."""
    callers = in_process.aws()._callers

    def move(seconds: float) -> None:
        now = callers._clock
        monkeypatch.setattr(callers, "_clock", lambda: now() + seconds)

    return move


def assume(account: str, *, by: Any = None, role: str = "deploy", **more: Any) -> dict[str, Any]:
    request = {"RoleArn": f"arn:aws:iam::{account}:role/{role}", "RoleSessionName": "kim", **more}
    answer: dict[str, Any] = (by or in_process.owner()).assume_role(**request)
    return answer


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call()
    answer = error.value.response["Error"]
    return answer["Code"], answer["Message"]


def create_role(account: str, name: str, *actions: str, principal: str = "*", **more: Any) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(actions)}
    in_process.client(account, "iam").create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        **more,
    )


def seconds_left(answer: Mapping[str, Any]) -> float:
    left: dt.timedelta = answer["Credentials"]["Expiration"] - dt.datetime.now(dt.UTC)
    return left.total_seconds()


def test_a_session_lasts_an_hour_unless_another_time_is_requested(account: str) -> None:
    assert 3590 <= seconds_left(assume(account)) <= 3600
    assert 890 <= seconds_left(assume(account, DurationSeconds=900)) <= 900


def test_sessions_can_be_made_to_end_within_seconds(account: str, limited: Callable[[float], None]) -> None:
    limited(5)

    assert 3 <= seconds_left(assume(account, DurationSeconds=43_200)) <= 5


@pytest.mark.parametrize(
    ("service", "method", "code"),
    [
        ("ec2", "describe_vpcs", "RequestExpired"),
        ("ecs", "list_clusters", "ExpiredTokenException"),
        ("elbv2", "describe_load_balancers", "ExpiredToken"),
        ("s3", "list_buckets", "ExpiredToken"),
        ("sts", "get_caller_identity", "ExpiredToken"),
    ],
)
def test_an_ended_session_is_refused_with_the_code_of_each_protocol(
    account: str, later: Callable[[float], None], service: str, method: str, code: str
) -> None:
    client = in_process.client_of(service, assume(account, DurationSeconds=900)["Credentials"])
    getattr(client, method)()

    later(901)

    assert refused(getattr(client, method))[0] == code


def test_a_session_of_a_chain_lasts_an_hour_at_most(account: str) -> None:
    """Even if the role allows more."""
    create_role(account, "deploy", "sts:AssumeRole", MaxSessionDuration=43_200)
    first = in_process.client_of("sts", assume(account, DurationSeconds=43_200)["Credentials"])

    code, message = refused(lambda: assume(account, by=first, DurationSeconds=3601))

    assert code == "ValidationError"
    assert "1 hour session limit for roles assumed by role chaining" in message
    assert seconds_left(assume(account, by=first, DurationSeconds=3600)) <= 3600


def test_a_role_limits_its_sessions(account: str) -> None:
    create_role(account, "deploy", "sts:AssumeRole", MaxSessionDuration=7200)

    code, message = refused(lambda: assume(account, DurationSeconds=7201))

    assert (code, "MaxSessionDuration" in message) == ("ValidationError", True)
    assert seconds_left(assume(account, DurationSeconds=7200)) > 7190


@pytest.mark.parametrize(
    "request_",
    [
        {"RoleSessionName": "kim lee"},
        {"RoleSessionName": "ky/m"},
        {"SourceIdentity": "김민준"},
        {"SourceIdentity": "aws:kim"},
        {"DurationSeconds": 43_201},
    ],
    ids=str,
)
def test_a_malformed_request_is_refused(account: str, request_: dict[str, Any]) -> None:
    assert refused(lambda: assume(account, **request_))[0] == "ValidationError"


def test_the_identity_is_the_name_of_the_session(account: str) -> None:
    answer = assume(account, RoleSessionName="kim@example.com")

    identity = in_process.client_of("sts", answer["Credentials"]).get_caller_identity()

    assert identity["Arn"] == f"arn:aws:sts::{account}:assumed-role/deploy/kim@example.com"


def test_the_owner_is_a_user_of_iam() -> None:
    assert in_process.owner().get_caller_identity()["Arn"].startswith("arn:aws:iam::123456789012:user/")


def test_a_source_identity_must_be_allowed_by_the_trust_policy(account: str) -> None:
    create_role(account, "strict", "sts:AssumeRole")
    create_role(account, "open", "sts:AssumeRole", "sts:SetSourceIdentity")

    code, message = refused(lambda: assume(account, role="strict", SourceIdentity="kim"))

    assert code == "AccessDenied"
    assert message.endswith(
        f"to perform: sts:SetSourceIdentity on resource: arn:aws:iam::{account}:role/strict"
    )
    assert assume(account, role="open", SourceIdentity="kim")["SourceIdentity"] == "kim"


def test_a_source_identity_passes_along_a_chain_and_cannot_be_changed(account: str) -> None:
    create_role(account, "strict", "sts:AssumeRole")
    first = in_process.client_of("sts", assume(account, SourceIdentity="kim")["Credentials"])

    assert assume(account, by=first)["SourceIdentity"] == "kim"
    assert assume(account, by=first, SourceIdentity="kim")["SourceIdentity"] == "kim"
    assert refused(lambda: assume(account, by=first, SourceIdentity="lee"))[0] == "AccessDenied"
    assert refused(lambda: assume(account, by=first, role="strict"))[0] == "AccessDenied"

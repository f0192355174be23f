"""Clients and child processes act on the local AWS for longer than a session lives."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf.aws import Access, Aws, connect, has_lapsed, needs_sign_in, refusal
from mclass_tf.buckets import ensure_state_bucket
from mclass_tf.environment import Backend
from mclass_tf.errors import CredentialsExpiredError
from mclass_tf.lease import Holder, Lease
from mclass_tf.local.aws.sts import sessions
from tests.local import in_process

REGION = in_process.REGION
CI = {"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "kim", "GITHUB_REPOSITORY": "acme/shop", "GITHUB_RUN_ID": "7"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with in_process.serving() as served:
        yield served


@pytest.fixture
def account() -> str:
    return in_process.new_account()


@pytest.fixture
def short() -> Iterator[None]:
    """Sessions that live for 3 seconds, or the part of the second less that AWS cuts off."""
    sessions.limit = 3
    yield
    sessions.limit = None


def base(url: str) -> Access:
    return Access(
        region=REGION,
        endpoint_url=url,
        access_key_id=in_process.KEY.access_key_id,
        secret_access_key=in_process.KEY.secret_access_key,
    )


def connected(url: str, account: str, env: Mapping[str, str] | None = None) -> Aws:
    role = f"arn:aws:iam::{account}:role/deploy"
    return connect(base(url), account_id=account, role_arn=role, env=env or {})


def outlive(aws: Aws, call: Callable[[], object], *, more: int = 2) -> None:
    """Make a call again and again until so many more sessions have begun."""
    assert aws.access.role is not None
    keys, deadline = aws.access.role.keys, time.monotonic() + 60
    seen = {keys.get_frozen_credentials().access_key}
    while len(seen) <= more:
        assert time.monotonic() < deadline
        call()
        seen.add(keys.get_frozen_credentials().access_key)
        time.sleep(0.05)


def expire(aws: Aws) -> None:
    """End the current session of a role early, as AWS does when somebody revokes it."""
    assert aws.access.role is not None
    key = aws.access.role.keys.get_frozen_credentials().access_key
    sessions.mark(key, expires_at=time.time() - 1)


@pytest.mark.usefixtures("short")
def test_clients_outlive_the_sessions_of_a_role(url: str, account: str) -> None:
    aws = connected(url, account)

    def call() -> None:
        aws.s3.list_buckets()
        aws.call_ecs("ListClusters", {})

    outlive(aws, call)


def test_sessions_are_renewed_before_they_end_not_before_each_call(url: str, account: str) -> None:
    aws = connected(url, account)
    assert aws.access.role is not None
    first = aws.access.role.keys.get_frozen_credentials().access_key

    for _ in range(3):
        aws.s3.list_buckets()

    assert aws.access.role.keys.get_frozen_credentials().access_key == first


@pytest.mark.parametrize(
    "call",
    [
        lambda aws: aws.s3.list_buckets(),
        lambda aws: aws.ec2.describe_vpcs(),
        lambda aws: aws.call_ecs("ListClusters", {}),
    ],
    ids=["s3", "ec2", "ecs"],
)
def test_a_session_that_aws_ends_early_is_renewed_by_the_call_that_notices(
    url: str, account: str, call: Callable[[Aws], object]
) -> None:
    aws = connected(url, account)
    call(aws)

    expire(aws)

    call(aws)


@pytest.mark.usefixtures("short")
def test_the_lease_is_renewed_beyond_the_session_that_took_it(url: str, account: str) -> None:
    aws = connected(url, account)
    ensure_state_bucket(aws.s3, f"state-{account}", region=REGION)
    backend = Backend(
        file=Path("backend.hcl"), bucket=f"state-{account}", key="k", region=REGION, allowed_account_ids=()
    )
    holder = Holder.here(who="kim", command="release", digest="")
    etags: set[str] = set()

    def look() -> None:
        etags.add(aws.s3.get_object(Bucket=f"state-{account}", Key="releases/dev.lease")["ETag"])

    with Lease(aws, backend, environment="dev").held(holder, renewed_every=0.5) as held:
        outlive(aws, look)
        before = set(etags)
        outlive(aws, look, more=1)
        held.require()

    assert etags - before, "it is renewed in the later sessions too"


def profile(folder: Path, monkeypatch: pytest.MonkeyPatch, *, expires_in: float | None) -> Path:
    """Set a profile whose process gives the owner's key; return the file to which it adds a line at each run."""
    runs, script = folder / "runs", folder / "process.py"
    keys = {"AccessKeyId": in_process.KEY.access_key_id, "SecretAccessKey": in_process.KEY.secret_access_key}
    script.write_text(f"""
import datetime, json
open({str(runs)!r}, "a").write("x")
document = {{"Version": 1, **{keys!r}}}
if {expires_in!r} is not None:
    ends_at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds={expires_in!r} or 0)
    document["Expiration"] = ends_at.isoformat()
print(json.dumps(document))
""")
    (folder / "config").write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    return runs


def test_all_clients_share_the_credentials_that_a_source_gave_once(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user is asked for an MFA code once, not by each client."""
    runs = profile(tmp_path, monkeypatch, expires_in=None)
    aws = Aws(Access(region=REGION, endpoint_url=url))

    aws.s3.list_buckets()
    aws.ec2.describe_vpcs()
    aws.call_ecs("ListClusters", {})

    assert runs.read_text() == "x"


def test_a_source_that_renews_its_credentials_still_does(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = profile(tmp_path, monkeypatch, expires_in=30.0)  # botocore renews them when ten minutes are left
    aws = Aws(Access(region=REGION, endpoint_url=url))

    aws.s3.list_buckets()
    aws.s3.list_buckets()

    assert len(runs.read_text()) > 1
    assert "AWS_ACCESS_KEY_ID" not in aws.access.variables(), "Terraform asks the source itself"
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in aws.access.variables()


_CHILD = """
import json, time, boto3
session = boto3.session.Session()
client = session.client("sts")
keys, names = set(), set()
while len(keys) < 3:
    names.add(client.get_caller_identity()["Arn"])
    keys.add(session.get_credentials().get_frozen_credentials().access_key)
    time.sleep(0.05)
print(json.dumps(sorted(names)))
"""


@pytest.mark.usefixtures("short")
def test_a_child_process_outlives_them_too(url: str, account: str) -> None:
    aws = connected(url, account, CI)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}

    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        env={**kept, **aws.access.variables()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [f"arn:aws:sts::{account}:assumed-role/deploy/kim@acme-shop.7"]


def fetched(variables: Mapping[str, str], *, token: str | None) -> tuple[int, Mapping[str, Any]]:
    request = urllib.request.Request(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    if token is not None:
        request.add_header("Authorization", token)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_only_the_child_is_given_the_credentials(url: str, account: str) -> None:
    variables = connected(url, account).access.variables()
    token = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]

    for other in (None, "", "-", token[:-1], f"{token}x", "é"):
        status, document = fetched(variables, token=other)
        assert (status, set(document)) == (403, {"Code", "Message"})
    status, document = fetched(variables, token=token)

    assert status == 200
    assert set(document) == {"AccessKeyId", "Expiration", "SecretAccessKey", "Token"}
    assert "AWS_SECRET_ACCESS_KEY" not in variables


def test_a_child_gets_credentials_with_at_least_half_of_their_life_left(url: str, account: str) -> None:
    """It may outlive the endpoint, as Terraform does when this process is killed."""
    aws = connected(url, account)
    role = aws.access.role
    assert role is not None
    variables = aws.access.variables()
    role.session._ends_at -= dt.timedelta(minutes=31)

    _, document = fetched(variables, token=variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"])

    left = dt.datetime.fromisoformat(document["Expiration"]) - dt.datetime.now(dt.UTC)
    assert left > dt.timedelta(minutes=50)


def test_a_child_gets_an_error_if_the_credentials_cannot_be_renewed(url: str, account: str) -> None:
    aws = connected(url, account)
    assert aws.access.role is not None
    variables = aws.access.variables()
    expire(aws)

    def gone(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "ExpiredToken", "Message": "it has ended"}}, "AssumeRole")

    aws.access.role.session._assume = gone
    aws.access.role.session._ends_at -= dt.timedelta(hours=1)
    aws.access.role.keys._expiry_time -= dt.timedelta(hours=1)

    status, document = fetched(variables, token=variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"])

    assert (status, document["Code"]) == (400, "CredentialsExpired")
    assert "it has ended" in document["Message"]


def test_credentials_that_cannot_be_renewed_are_no_error_of_the_configuration(url: str, account: str) -> None:
    answer = in_process.owner().assume_role(
        RoleArn=f"arn:aws:iam::{account}:role/ci", RoleSessionName="kim", DurationSeconds=900
    )["Credentials"]
    aws = Aws(
        Access(
            region=REGION,
            endpoint_url=url,
            access_key_id=answer["AccessKeyId"],
            secret_access_key=answer["SecretAccessKey"],
            session_token=answer["SessionToken"],
        )
    )
    sessions.mark(answer["AccessKeyId"], expires_at=time.time() - 1)

    for call in (aws.s3.list_buckets, aws.ec2.describe_vpcs, lambda: aws.call_ecs("ListClusters", {})):
        with pytest.raises(ClientError) as error:
            call()
        shown = refusal(error.value)

        assert has_lapsed(error.value)
        assert not needs_sign_in(error.value)
        assert isinstance(shown, CredentialsExpiredError)
        assert "the credentials have expired" in shown.message
        assert "sign in again" in shown.hint
        assert "release ENV --resume" in shown.hint


def test_the_name_of_the_session_is_that_of_the_job_or_of_the_user(url: str, account: str) -> None:
    by_job = connected(url, account, CI).sts.get_caller_identity()["Arn"]
    by_user = connected(url, account).sts.get_caller_identity()["Arn"]

    assert by_job.endswith("/kim@acme-shop.7")
    assert by_user.rpartition("/")[2] == in_process.owner().get_caller_identity()["Arn"].rpartition("/")[2]


@pytest.mark.parametrize(
    ("actions", "source"),
    [(("sts:AssumeRole",), ""), (("sts:AssumeRole", "sts:SetSourceIdentity"), "kim@acme-shop.7")],
    ids=["not allowed", "allowed"],
)
def test_the_source_identity_is_set_where_the_role_allows_it(
    url: str, account: str, actions: tuple[str, ...], source: str
) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": list(actions)}
    in_process.client(account, "iam").create_role(
        RoleName="deploy",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )

    aws = connected(url, account, CI)
    assert aws.access.role is not None
    expire(aws)
    aws.s3.list_buckets()

    issued = sessions.find(aws.access.role.keys.get_frozen_credentials().access_key)
    assert issued is not None
    assert issued.source_identity == source

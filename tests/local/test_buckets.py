"""The buckets of an environment: in their region and partition, and with old versions only of what must be kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import terraform_state
from mclass_tf.aws import Access, Aws, partition
from mclass_tf.buckets import ensure_access_log_bucket, ensure_state_bucket
from mclass_tf.environment import Backend
from mclass_tf.lease import Holder, Lease, lease_key
from tests.local import in_process

KEY = "mclass/terraform.tfstate"
EXPIRY = "expiry of old leases and locks"


def backend(bucket: str, *, region: str = in_process.REGION) -> Backend:
    return Backend(file=Path("backend.hcl"), bucket=bucket, key=KEY, region=region, allowed_account_ids=())


@pytest.fixture
def account() -> str:
    return in_process.new_account()


@pytest.fixture
def rewritten() -> tuple[str, str]:
    return lease_key(backend("x"), environment="dev"), f"{KEY}.tflock"


def expiring(rules: list[Mapping[str, Any]], key: str) -> bool:
    """Return whether S3 deletes noncurrent versions of the object by these rules."""
    return any(
        rule["Status"] == "Enabled"
        and key.startswith(rule["Filter"].get("Prefix", ""))
        and rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 0) >= 1
        for rule in rules
    )


def test_versions_of_the_lease_and_the_lock_expire_and_those_of_state_and_ledger_stay(
    account: str, rewritten: tuple[str, str]
) -> None:
    s3 = in_process.client(account, "s3")
    name = f"state-{account}"

    changed = ensure_state_bucket(s3, name, region=in_process.REGION, rewritten=rewritten)

    rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert EXPIRY in changed
    assert all(expiring(rules, key) for key in rewritten)
    for kept in (KEY, "mclass/releases/dev/2026-11-29/started.json", "mclass/releases/dev2.lease"):
        assert not expiring(rules, kept)
    assert not any("Days" in rule["Expiration"] for rule in rules), "current objects stay"


def test_a_second_bootstrap_changes_nothing_and_gives_an_older_bucket_the_rules(
    account: str, rewritten: tuple[str, str]
) -> None:
    s3 = in_process.client(account, "s3")
    name = f"state-{account}"
    ensure_state_bucket(s3, name, region=in_process.REGION)
    others = {
        "ID": "theirs",
        "Status": "Enabled",
        "Filter": {"Prefix": "other/"},
        "Expiration": {"Days": 9},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [others]})

    first = ensure_state_bucket(s3, name, region=in_process.REGION, rewritten=rewritten)
    second = ensure_state_bucket(s3, name, region=in_process.REGION, rewritten=rewritten)
    other = ensure_state_bucket(s3, name, region=in_process.REGION, rewritten=["mclass/releases/prod.lease"])

    rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert (first, second, other) == ((EXPIRY,), (), (EXPIRY,))
    assert "theirs" in {rule["ID"] for rule in rules}
    assert len(rules) == 4, "two environments may share a bucket"


def test_state_lease_and_bootstrap_go_to_the_region_of_the_bucket(account: str) -> None:
    """Without a redirection for each call, and without a lease that S3 refuses to make."""
    name, elsewhere = f"state-{account}", "eu-west-1"
    key_id, secret, token = in_process.session(account)
    with in_process.serving() as url:
        aws = Aws(
            Access(
                region=in_process.REGION,
                endpoint_url=url,
                access_key_id=key_id,
                secret_access_key=secret,
                session_token=token,
            )
        )
        misdirected: list[str] = []
        aws.s3.meta.events.register("before-send", lambda request, **_: misdirected.append(request.url))
        there = aws.s3_in(elsewhere)

        ensure_state_bucket(there, name, region=elsewhere, rewritten=[KEY])
        with Lease(aws, backend(name, region=elsewhere), environment="dev").held(
            Holder.here(who="kim", command="release", digest="")
        ) as held:
            held.require()
        state = terraform_state.read(aws, backend(name, region=elsewhere), environment="dev")

        assert there.get_bucket_location(Bucket=name)["LocationConstraint"] == elsewhere
    assert state == terraform_state.EMPTY
    assert misdirected == []


@pytest.mark.parametrize(
    ("region", "name"),
    [
        ("ap-northeast-2", "aws"),
        ("cn-north-1", "aws-cn"),
        ("cn-northwest-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_the_partition_is_that_of_the_region(region: str, name: str) -> None:
    assert partition(region) == name


@pytest.mark.parametrize(
    ("region", "arn"), [("cn-north-1", "arn:aws-cn:s3:::"), ("us-gov-west-1", "arn:aws-us-gov:s3:::")]
)
def test_the_policies_of_buckets_name_the_partition(account: str, region: str, arn: str) -> None:
    s3 = in_process.client(account, "s3", region=region)
    ensure_state_bucket(s3, f"state-{account}", region=region)
    ensure_access_log_bucket(s3, f"logs-{account}", region=region, account_id=account)

    for bucket in (f"state-{account}", f"logs-{account}"):
        policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
        resources = [each for statement in policy["Statement"] for each in statement["Resource"]]
        assert resources
        assert all(each.startswith(f"{arn}{bucket}") for each in resources)

"""S3 as the backend of the state: locking, bucket policies, path-style addresses."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import REGION, Account


@pytest.fixture
def bucket(fresh: Account) -> str:
    name = f"state-{fresh.account_id}"
    fresh.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def test_only_one_of_many_gets_the_lock(fresh: Account, bucket: str) -> None:
    callers = 16
    clients = [fresh.client("s3") for _ in range(callers)]
    together = threading.Barrier(callers)

    def lock(number: int) -> int:
        together.wait()
        try:
            clients[number].put_object(
                Bucket=bucket, Key="k.tflock", Body=str(number).encode(), IfNoneMatch="*"
            )
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return 200

    with ThreadPoolExecutor(callers) as pool:
        outcomes = sorted(pool.map(lock, range(callers)))
    assert [200, *[412] * (callers - 1)] == outcomes


def test_a_released_lock_can_be_taken_again(fresh: Account, bucket: str) -> None:
    s3 = fresh.client("s3")
    s3.put_object(Bucket=bucket, Key="k.tflock", Body=b"1", IfNoneMatch="*")
    s3.delete_object(Bucket=bucket, Key="k.tflock")
    assert (
        s3.put_object(Bucket=bucket, Key="k.tflock", Body=b"2", IfNoneMatch="*")["ResponseMetadata"][
            "HTTPStatusCode"
        ]
        == 200
    )


def test_a_large_object_is_returned_unchanged(fresh: Account, bucket: str) -> None:
    s3 = fresh.client("s3")
    body = b"0123456789abcdef" * 700_000  # above what the server keeps in memory
    s3.put_object(Bucket=bucket, Key="folder/large", Body=body)
    assert body == s3.get_object(Bucket=bucket, Key="folder/large")["Body"].read()


def test_metadata_keys_keep_their_underscores(fresh: Account, bucket: str) -> None:
    s3 = fresh.client("s3")
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"with_underscore": "a", "with-dash": "b"})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"with_underscore": "a", "with-dash": "b"}


def test_a_policy_that_denies_plain_http_allows_loopback(fresh: Account, bucket: str) -> None:
    s3 = fresh.client("s3")
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    s3.put_object(Bucket=bucket, Key="k", Body=b"in")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"in"


def test_a_policy_that_denies_everybody_applies(fresh: Account, bucket: str) -> None:
    s3 = fresh.client("s3")
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    s3.put_object(Bucket=bucket, Key="k", Body=b"in")
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    with pytest.raises(ClientError, match=r"Forbidden|AccessDenied"):
        s3.get_object(Bucket=bucket, Key="k")


def test_the_owner_of_a_bucket_pays(fresh: Account, bucket: str) -> None:
    assert fresh.client("s3").get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"


def test_a_bucket_of_another_region_is_redirected_to(fresh: Account) -> None:
    name = f"elsewhere-{fresh.account_id}"
    there = fresh.client("s3", region="eu-west-1")
    there.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    there.put_object(Bucket=name, Key="k", Body=b"1")
    here = fresh.client("s3")
    answers = []
    here.meta.events.register(
        "response-received", lambda response_dict, **_: answers.append(response_dict["status_code"])
    )

    assert here.get_object(Bucket=name, Key="k")["Body"].read() == b"1"
    assert answers[0] == 301


def test_a_region_makes_its_own_buckets_only(fresh: Account) -> None:
    with pytest.raises(ClientError, match="IllegalLocationConstraintException"):
        fresh.client("s3").create_bucket(
            Bucket=f"other-{fresh.account_id}", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )

"""Create and configure the buckets that must exist before Terraform runs.

Each function is idempotent and returns the names of the settings that it changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from mclass_tf.aws import partition
from mclass_tf.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ABSENT = frozenset({"404", "NoSuchBucket"})
_NO_PUBLIC_ACCESS = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


def ensure_state_bucket(
    s3: S3Client, name: str, *, region: str, rewritten: Sequence[str] = ()
) -> tuple[str, ...]:
    """Ensure a bucket for Terraform's state: versioned, encrypted, TLS only, no public access.

    Earlier versions of the state and the ledger stay. Those of the objects `rewritten` again and again, every few seconds while a
    release runs, expire: each day of a release would leave thousands.
    """
    statements = [_tls_only(name, region=region)]
    return tuple(
        chain(
            _ensure(s3, name, region=region, statements=statements, expire_after_days=None),
            _expire_versions(s3, name, keys=rewritten),
        )
    )


def ensure_access_log_bucket(s3: S3Client, name: str, *, region: str, account_id: str) -> tuple[str, ...]:
    """Ensure a bucket to which load balancers of `account_id` may write access logs, which expire after a year.

    The log delivery service supports only S3-managed keys, and needs only PutObject. Source:
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
    """
    folders = [f"arn:{partition(region)}:s3:::{name}/{prefix}AWSLogs/{account_id}/*" for prefix in ("", "*/")]
    delivery: dict[str, Any] = {
        "Sid": "LoadBalancerLogs",
        "Effect": "Allow",
        "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": folders,
        # AWS does not document for every region that log delivery sends the account. If it does, it must be this one.
        "Condition": {"StringEqualsIfExists": {"aws:SourceAccount": account_id}},
    }
    return tuple(
        _ensure(
            s3,
            name,
            region=region,
            statements=[_tls_only(name, region=region), delivery],
            expire_after_days=365,
        )
    )


def _ensure(
    s3: S3Client, name: str, *, region: str, statements: list[dict[str, Any]], expire_after_days: int | None
) -> Iterator[str]:
    if _create(s3, name, region=region):
        yield "created"
    if s3.get_bucket_versioning(Bucket=name).get("Status") != "Enabled":
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        yield "versioning"
    if not _setting(s3, lambda: s3.get_bucket_encryption(Bucket=name)):
        s3.put_bucket_encryption(
            Bucket=name,
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
        )
        yield "encryption"
    access = _setting(s3, lambda: s3.get_public_access_block(Bucket=name)) or {}
    if access.get("PublicAccessBlockConfiguration") != _NO_PUBLIC_ACCESS:
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=_NO_PUBLIC_ACCESS)  # type: ignore[arg-type]  # a TypedDict by content
        yield "no public access"
    yield from _policy(s3, name, statements)
    if expire_after_days is not None and not _setting(
        s3, lambda: s3.get_bucket_lifecycle_configuration(Bucket=name)
    ):
        _expire(s3, name, days=expire_after_days)
        yield "expiry"


def _create(s3: S3Client, name: str, *, region: str) -> bool:
    try:
        s3.head_bucket(Bucket=name)
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in _ABSENT:
            raise ConfigurationError(
                f"the bucket {name} belongs to somebody else, or the credentials may not see it: {error}",
                hint="bucket names are global: choose another in backend.hcl, or use credentials of its account",
            ) from None
        # us-east-1 is the only region that S3 rejects as a location constraint.
        location: dict[str, Any] = (
            {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        s3.create_bucket(Bucket=name, **location)
        s3.get_waiter("bucket_exists").wait(Bucket=name)
        return True
    return False


def _setting(s3: S3Client, read: Any) -> Mapping[str, Any] | None:
    """Return what `read` returns, None if the bucket has no such setting."""
    try:
        setting: Mapping[str, Any] = read()
    except s3.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code.startswith("NoSuch") or code.endswith("NotFoundError"):
            return None
        raise
    return setting


def _policy(s3: S3Client, name: str, statements: list[dict[str, Any]]) -> Iterator[str]:
    current = _setting(s3, lambda: s3.get_bucket_policy(Bucket=name))
    text = current["Policy"] if current else '{"Version": "2012-10-17", "Statement": []}'
    policy: dict[str, Any] = json.loads(text)
    ours = {statement["Sid"]: statement for statement in statements}
    # Keep statements that somebody else added.
    others = [statement for statement in policy["Statement"] if statement.get("Sid") not in ours]
    updated = {**policy, "Statement": [*others, *statements]}
    if current is None or updated != policy:
        s3.put_bucket_policy(Bucket=name, Policy=json.dumps(updated))
        yield "policy"


def _expire(s3: S3Client, name: str, *, days: int) -> None:
    rule = {
        "ID": "expire",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"Days": days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})  # type: ignore[list-item]  # a TypedDict by content


def _expire_versions(s3: S3Client, name: str, *, keys: Sequence[str]) -> Iterator[str]:
    """Let noncurrent versions of objects expire after a day, the shortest time that S3 has; keep everybody else's rules.

    A lock that was removed leaves a delete marker, which expires as soon as no version is left below it.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
    """
    current = _setting(s3, lambda: s3.get_bucket_lifecycle_configuration(Bucket=name)) or {}
    ours = {f"mclass-tf {hashlib.sha256(key.encode()).hexdigest()[:16]}": key for key in keys}
    rules = [
        {
            "ID": rule_id,
            "Status": "Enabled",
            "Filter": {"Prefix": key},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        }
        for rule_id, key in ours.items()
    ]
    existing: list[Any] = list(current.get("Rules", ()))
    if all(rule in existing for rule in rules):
        return
    updated: Any = [*(rule for rule in existing if rule.get("ID") not in ours), *rules]
    # Without it, S3 sets its own default where somebody has chosen another.
    size = "TransitionDefaultMinimumObjectSize"
    kept: Any = {size: current[size]} if size in current else {}
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": updated}, **kept)
    yield "expiry of old leases and locks"


def _tls_only(name: str, *, region: str) -> dict[str, Any]:
    arn = f"arn:{partition(region)}:s3:::{name}"
    return {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }

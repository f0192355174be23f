"""What may be done in the name of a task's role: what its policies say, and nothing by which this machine would run something.

A task may be a container with anybody's image, and what ECS and Lambda run here are processes of the user of this machine. So whoever
has the credentials of a task's role may read, and may write where nothing that runs is decided. An image that is pushed, a task
definition, a service, code or variables of a function, a policy, a key: each would sooner or later start a process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from moto.core.request import Request
from moto.core.routing import get_service_router

from mclass_tf.local.aws import roles
from mclass_tf.local.aws.api.callers import Caller
from mclass_tf.local.aws.calls import Call
from mclass_tf.local.aws.denial import ForbiddenError

_ALWAYS = frozenset({"sts:GetCallerIdentity"})  # which AWS lets everybody do
_TRUSTED = frozenset({"sts:AssumeRole"})  # the trust policy decides (sts.py)
_HANDS_OUT_MORE = frozenset({"ecr:GetAuthorizationToken"})  # with which images are pushed
_READS = re.compile(
    r"(BatchCheck|BatchGet|Describe|Filter|Get|Head|List|Lookup|Query|Scan|Search|Select|Test)[A-Z]\w*"
)
# Services in which nothing can be written that this machine would run.
_DATA = frozenset(
    [
        "dynamodb",
        "events",
        "firehose",
        "kinesis",
        "kms",
        "logs",
        "monitoring",
        "s3",
        "secretsmanager",
        "sns",
        "sqs",
        "ssm",
        "xray",
    ]
)
_PREFIXES = {"monitoring": "cloudwatch"}  # of actions, where it is not what signs
# Operations of S3 whose permission has another name: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html
_S3_ACTIONS = {
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketCors": "PutBucketCORS",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketReplication": "PutReplicationConfiguration",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeleteObjects": "DeleteObject",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
    "GetBucketCors": "GetBucketCORS",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "PutBucketAccelerateConfiguration": "PutAccelerateConfiguration",
    "PutBucketCors": "PutBucketCORS",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "PutBucketReplication": "PutReplicationConfiguration",
    "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
}


def require(caller: Caller, call: Call, environ: Mapping[str, Any]) -> None:
    """Raise ForbiddenError where the caller acts for a task and may not make the call. Call it under the lock."""
    if caller.task_id is None:
        return
    operation = _operation(call, environ)
    name = f"{call.service}:{operation}"
    if name in _ALWAYS | _TRUSTED:
        return
    action = _action(call.service, operation)
    if name in _HANDS_OUT_MORE or not (call.service in _DATA or _READS.fullmatch(operation)):
        raise ForbiddenError(
            f"User: {caller.arn} is not authorized to perform: {action} [local AWS: a task's role decides nothing that this "
            "machine runs, whatever its policies say]"
        )
    for needed, resource in ((action, _resource(call.service, operation, environ)), *_copied(environ)):
        if not roles.may_at_best(caller.arn, action=needed, resource=resource):
            raise ForbiddenError(
                f"User: {caller.arn} is not authorized to perform: {needed} because no identity-based policy allows "
                f"the {needed} action"
            )


def _operation(call: Call, environ: Mapping[str, Any]) -> str:
    """Return the API's name of a REST operation; one that moto does not route keeps its path, which nothing allows."""
    if call.operation.isidentifier():
        return call.operation
    try:
        operation, _ = get_service_router(call.service).match(Request(dict(environ)))
    except Exception:  # noqa: BLE001  a service that botocore has no model of, under this name
        return call.operation
    return str(operation.name)


def _action(service: str, operation: str) -> str:
    if service == "s3":
        return f"s3:{_S3_ACTIONS.get(operation, operation)}"
    return f"{_PREFIXES.get(service, service)}:{operation}"


def _resource(service: str, operation: str, environ: Mapping[str, Any]) -> str | None:
    """Return the ARN of what an operation of S3 is on, by its path; None where a call does not say it there."""
    path = str(environ["PATH_INFO"]).encode("latin-1").decode(errors="replace").lstrip("/")
    if service != "s3" or not path:
        return None
    bucket, _, key = path.partition("/")
    key = "*" if operation == "DeleteObjects" else key  # its keys stand in the body
    return f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"


def _copied(environ: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what a copy has to be allowed to read."""
    source = unquote(str(environ.get("HTTP_X_AMZ_COPY_SOURCE", ""))).lstrip("/").partition("?")[0]
    return (("s3:GetObject", f"arn:aws:s3:::{source}"),) if source else ()

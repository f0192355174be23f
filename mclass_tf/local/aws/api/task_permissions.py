"""Authorizes calls with a task's role: its policies apply, and no call may make this machine run something.

A task may run anybody's image, while ECS and Lambda of the local AWS run processes as the user of this machine. So a caller with
the credentials of a task's role may read, and may write only data that nothing executes. A pushed image, a task definition, a
service, a function's code or variables, a policy or a key could each eventually start a process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from moto.core.request import Request
from moto.core.routing import get_service_router

from mclass_tf.local.access import post_form
from mclass_tf.local.aws import roles
from mclass_tf.local.aws.api.callers import Caller
from mclass_tf.local.aws.calls import Call
from mclass_tf.local.aws.denial import ForbiddenError

_ALWAYS_ALLOWED = frozenset({"sts:GetCallerIdentity"})  # AWS requires no permission
_TRUST_DECIDES = frozenset({"sts:AssumeRole"})  # the trust policy decides (sts.py)
_ISSUES_CREDENTIALS = frozenset({"ecr:GetAuthorizationToken"})  # its token can push images
_READS = re.compile(
    r"(BatchCheck|BatchGet|Describe|Filter|Get|Head|List|Lookup|Query|Scan|Search|Select|Test)[A-Z]\w*"
)
# Services whose data this machine never executes.
_DATA_SERVICES = frozenset(
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
_ACTION_PREFIXES = {"monitoring": "cloudwatch"}  # by signing name, if they differ
# Operations of S3 whose permission has a different name: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html
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
    "PostObject": "PutObject",
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
    """Raise ForbiddenError if the caller acts with a task's role and may not make the call. Call it under the API lock."""
    if caller.task_id is None:
        return
    operation = _operation(call, environ)
    name = f"{call.service}:{operation}"
    if name in _ALWAYS_ALLOWED | _TRUST_DECIDES:
        return
    action = _action(call.service, operation)
    if name in _ISSUES_CREDENTIALS or not (call.service in _DATA_SERVICES or _READS.fullmatch(operation)):
        raise ForbiddenError(
            f"User: {caller.arn} is not authorized to perform: {action} [local AWS: a task's role decides nothing that this "
            "machine runs, whatever its policies say]"
        )
    for needed, resource in ((action, _resource(call.service, operation, environ)), *_copy_sources(environ)):
        if not roles.may_permit(caller.arn, action=needed, resource=resource):
            raise ForbiddenError(
                f"User: {caller.arn} is not authorized to perform: {needed} because no identity-based policy allows "
                f"the {needed} action"
            )


def _operation(call: Call, environ: Mapping[str, Any]) -> str:
    """Return the API's name of a REST operation. If moto does not route it, return method and path, which no policy allows."""
    if call.operation.isidentifier():
        return call.operation
    try:
        operation, _ = get_service_router(call.service).match(Request(dict(environ)))
    except Exception:  # noqa: BLE001  botocore has no model of a service with this name
        return call.operation
    return str(operation.name)


def _action(service: str, operation: str) -> str:
    if service == "s3":
        return f"s3:{_S3_ACTIONS.get(operation, operation)}"
    return f"{_ACTION_PREFIXES.get(service, service)}:{operation}"


def _resource(service: str, operation: str, environ: Mapping[str, Any]) -> str | None:
    """Return the ARN of the bucket or object in the path of an S3 call, or None for any other call."""
    path = str(environ["PATH_INFO"]).encode("latin-1").decode(errors="replace").lstrip("/")
    if service != "s3" or not path:
        return None
    bucket, _, key = path.partition("/")
    if operation == "DeleteObjects":
        key = "*"  # the keys are in the body
    elif operation == "PostObject":
        form = post_form.read(environ)
        key = "*" if form is None else form.key
    return f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"


def _copy_sources(environ: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the action and resource that a copy needs for reading its source, if the call is a copy."""
    source = unquote(str(environ.get("HTTP_X_AMZ_COPY_SOURCE", ""))).lstrip("/").partition("?")[0]
    return (("s3:GetObject", f"arn:aws:s3:::{source}"),) if source else ()

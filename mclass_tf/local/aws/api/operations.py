"""Names the operations of S3 calls, and lists the operations that are not modelled although moto accepts them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from moto.core.request import Request
from moto.core.routing import NotFound, get_service_router

from mclass_tf.local.aws.calls import Call, Protocol


def named(call: Call, environ: dict[str, Any]) -> Call:
    """Return the call with the API's name of its operation, which S3 requests do not contain."""
    if call.service != "s3" or call.protocol is not Protocol.REST_XML:
        return call
    try:
        operation, _ = get_service_router("s3").match(Request(environ))
    except NotFound:
        return call
    return dataclasses.replace(call, operation=operation.name)


def refusal(call: Call) -> str | None:
    """Return why the call must be refused before it reaches moto, or None."""
    if call.service == "s3" and call.operation.isidentifier() and call.operation not in S3_MODELLED:
        return "this part of S3 is not modelled"
    if call.service == "lambda" and _INVOCATION.fullmatch(call.operation):
        return "functions run where deployments of services ask them, and nowhere else"
    return _REFUSED.get(call.name)


def unsigned_refusal(call: Call) -> str | None:
    """Return why a call that AWS takes without a signature is not modelled; None for every other call."""
    return _REFUSED[f"sts:{call.operation}"] if call.operation in _UNSIGNED else None


_UNSIGNED = frozenset({"AssumeRoleWithSAML", "AssumeRoleWithWebIdentity"})

# Invoke, InvokeAsync and InvokeWithResponseStream: moto would run them in Docker.
_INVOCATION = re.compile(
    r"POST /\S*/functions/[^/]+/(invocations|invoke-async/?|response-streaming-invocations)"
)

_NO_INSTANCES = "there are no EC2 instances, tasks run on Fargate"

_FARGATE_ONLY = "tasks run on Fargate only"

_NO_PROVIDER = "there are no identity providers, so no token can be verified; use AssumeRole for a session"

_NO_SESSION = "use AssumeRole for a session of any role"

_REFUSED = {
    "ecs:StartTask": "there are no container instances; RunTask starts a task on Fargate",
    **{
        f"ecs:{verb}": "the deployment controller is ECS"
        for verb in (
            "CreateTaskSet",
            "DeleteTaskSet",
            "DescribeTaskSets",
            "UpdateServicePrimaryTaskSet",
            "UpdateTaskSet",
        )
    },
    **{
        f"ecs:{verb}": _FARGATE_ONLY
        for verb in (
            "CreateCapacityProvider",
            "DeleteAttributes",
            "DeleteCapacityProvider",
            "DeregisterContainerInstance",
            "DescribeContainerInstances",
            "ListAttributes",
            "PutAttributes",
            "RegisterContainerInstance",
            "UpdateCapacityProvider",
            "UpdateContainerInstancesState",
        )
    },
    "ec2:RunInstances": _NO_INSTANCES,
    "ec2:RequestSpotInstances": _NO_INSTANCES,
    "ec2:RequestSpotFleet": _NO_INSTANCES,
    "ec2:CreateFleet": _NO_INSTANCES,
    "ec2:DescribeInstanceTypes": _NO_INSTANCES,
    "ec2:DescribeInstanceTypeOfferings": _NO_INSTANCES,
    "sts:AssumeRoleWithSAML": _NO_PROVIDER,
    "sts:AssumeRoleWithWebIdentity": _NO_PROVIDER,
    "sts:GetFederationToken": _NO_SESSION,
    "sts:GetSessionToken": _NO_SESSION,
}

# moto ignores unknown sub-resources: it handles `DELETE /bucket?inventory` as DeleteBucket, and answers
# `GET /bucket?analytics` with a list of objects.
S3_MODELLED = frozenset(
    [
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CopyObject",
        "CreateBucket",
        "CreateMultipartUpload",
        "DeleteBucket",
        "DeleteBucketCors",
        "DeleteBucketEncryption",
        "DeleteBucketLifecycle",
        "DeleteBucketOwnershipControls",
        "DeleteBucketPolicy",
        "DeleteBucketReplication",
        "DeleteBucketTagging",
        "DeleteBucketWebsite",
        "DeleteObject",
        "DeleteObjectTagging",
        "DeleteObjects",
        "DeletePublicAccessBlock",
        "GetBucketAccelerateConfiguration",
        "GetBucketAcl",
        "GetBucketCors",
        "GetBucketEncryption",
        "GetBucketInventoryConfiguration",
        "GetBucketLifecycleConfiguration",
        "GetBucketLocation",
        "GetBucketLogging",
        "GetBucketNotificationConfiguration",
        "GetBucketOwnershipControls",
        "GetBucketPolicy",
        "GetBucketPolicyStatus",
        "GetBucketReplication",
        "GetBucketRequestPayment",
        "GetBucketTagging",
        "GetBucketVersioning",
        "GetBucketWebsite",
        "GetObject",
        "GetObjectAcl",
        "GetObjectAttributes",
        "GetObjectLegalHold",
        "GetObjectLockConfiguration",
        "GetObjectTagging",
        "GetPublicAccessBlock",
        "HeadBucket",
        "HeadObject",
        "ListBucketInventoryConfigurations",
        "ListBuckets",
        "ListMultipartUploads",
        "ListObjectVersions",
        "ListObjects",
        "ListObjectsV2",
        "ListParts",
        "PostObject",
        "PutBucketAccelerateConfiguration",
        "PutBucketAcl",
        "PutBucketCors",
        "PutBucketEncryption",
        "PutBucketInventoryConfiguration",
        "PutBucketLifecycleConfiguration",
        "PutBucketLogging",
        "PutBucketNotificationConfiguration",
        "PutBucketOwnershipControls",
        "PutBucketPolicy",
        "PutBucketReplication",
        "PutBucketTagging",
        "PutBucketVersioning",
        "PutBucketWebsite",
        "PutObject",
        "PutObjectAcl",
        "PutObjectLegalHold",
        "PutObjectLockConfiguration",
        "PutObjectRetention",
        "PutObjectTagging",
        "PutPublicAccessBlock",
        "UploadPart",
        "UploadPartCopy",
    ]
)

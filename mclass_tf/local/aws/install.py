"""Puts every service module in its place, once, before the first call."""

from __future__ import annotations

import functools

from mclass_tf.local.aws import (
    acm,
    autoscaling_responses,
    cloudwatch_responses,
    ec2,
    ecr,
    ecs,
    elbv2,
    functions,
    iam,
    kms,
    logs,
    s3,
    sts,
)


@functools.cache
def install() -> None:
    """Must precede the first use of any account: moto makes a backend of the class that it finds then."""
    for service in (
        ec2,
        acm,
        iam,
        kms,
        s3,
        cloudwatch_responses,
        logs,
        ecr,
        elbv2,
        ecs,
        autoscaling_responses,
        functions,
        sts,
    ):
        service.install()

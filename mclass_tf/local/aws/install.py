"""Installs all service modules into moto, once, before the first call."""

from __future__ import annotations

import functools

from mclass_tf.local.aws import acm, ec2, ecs, functions, iam, kms, logs, s3, sts
from mclass_tf.local.aws.autoscaling import responses as autoscaling
from mclass_tf.local.aws.cloudwatch import responses as cloudwatch
from mclass_tf.local.aws.ecr import backend as ecr
from mclass_tf.local.aws.elbv2 import backend as elbv2


@functools.cache
def install() -> None:
    """Install all services. Call it before any account is used: moto then creates a backend of the registered class."""
    for service in (ec2, acm, iam, kms, s3, cloudwatch, logs, ecr, elbv2, ecs, autoscaling, functions, sts):
        service.install()

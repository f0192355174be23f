"""Puts every service module in its place, once, before the first call."""

from __future__ import annotations

import functools

from mclass_tf.local.aws import autoscaling, ec2, ecs, elbv2, iam, s3


@functools.cache
def install() -> None:
    """Must precede the first use of any account: moto makes a backend of the class that it finds then."""
    for service in (ec2, iam, s3, elbv2, ecs, autoscaling):
        service.install()

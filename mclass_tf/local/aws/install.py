"""Puts every service module in its place, once, before the first call."""

from __future__ import annotations

import functools

# EC2 comes first: the other services of moto import it, and it must be imported without its instance types.
from mclass_tf.local.aws import ec2  # isort: skip
from mclass_tf.local.aws import autoscaling, ecs, elbv2, iam, s3  # isort: skip


@functools.cache
def install() -> None:
    for service in (ec2, iam, s3, elbv2, ecs, autoscaling):
        service.install()

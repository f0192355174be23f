"""The subject of the checks: the outputs, and the present state of AWS."""

from __future__ import annotations

from typing import Protocol

from mclass_tf.aws import Aws
from mclass_tf.verify.outputs import Outputs
from mclass_tf.verify.readers.autoscaling import Autoscaling
from mclass_tf.verify.readers.ec2 import Ec2
from mclass_tf.verify.readers.ecr import Ecr
from mclass_tf.verify.readers.ecs import Ecs
from mclass_tf.verify.readers.elbv2 import Elbv2
from mclass_tf.verify.readers.iam import Iam
from mclass_tf.verify.readers.reader import AnswerCache, AwsReader, Item, items, once, only


class FetchStatus(Protocol):
    """Returns the HTTP status of a GET. Raises OSError if there is no answer. `seconds` limits the wait."""

    def __call__(self, url: str, *, seconds: float) -> int: ...


class World(AwsReader):
    """The outputs and the present AWS, with a reader for each service. It reads services with one or two resources itself."""

    def __init__(self, *, outputs: Outputs, aws: Aws, fetch: FetchStatus) -> None:
        answers = AnswerCache()
        super().__init__(outputs=outputs, aws=aws, answers=answers)
        self.fetch = fetch
        self.autoscaling = Autoscaling(outputs=outputs, aws=aws, answers=answers)
        self.ec2 = Ec2(outputs=outputs, aws=aws, answers=answers)
        self.ecr = Ecr(outputs=outputs, aws=aws, answers=answers)
        self.ecs = Ecs(outputs=outputs, aws=aws, answers=answers)
        self.elbv2 = Elbv2(outputs=outputs, aws=aws, answers=answers)
        self.iam = Iam(outputs=outputs, aws=aws, answers=answers)

    @once
    def identity(self) -> Item:
        return self.aws.sts.get_caller_identity()

    @once
    def certificate(self) -> Item:
        arn = self.outputs.certificate_arn or ""
        return self.aws.acm.describe_certificate(CertificateArn=arn)["Certificate"]

    @once
    def log_group(self) -> Item:
        name = self.outputs.log_group_name
        groups = items(
            self.aws.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name), "logGroups"
        )
        return only([group for group in groups if group["logGroupName"] == name], f"log group {name}")

    @once
    def kms_key(self) -> Item:
        key = self.outputs.kms_key_arn or ""
        return self.aws.kms.describe_key(KeyId=key)["KeyMetadata"]

    @once
    def kms_rotation(self) -> bool:
        key = self.outputs.kms_key_arn or ""
        return self.aws.kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]

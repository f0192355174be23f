"""Reads Application Auto Scaling for the checks."""

from __future__ import annotations

from collections.abc import Sequence

from mclass_tf.verify.readers.reader import AwsReader, Item, items, once, only


class Autoscaling(AwsReader):
    """The scaling of the service in the outputs."""

    @property
    def _resource(self) -> str:
        return f"service/{self.outputs.cluster_name}/{self.outputs.service_name}"

    @once
    def scalable_target(self) -> Item:
        pages = self.aws.autoscaling.get_paginator("describe_scalable_targets").paginate(
            ServiceNamespace="ecs", ResourceIds=[self._resource], ScalableDimension="ecs:service:DesiredCount"
        )
        return only(items(pages, "ScalableTargets"), f"scalable target {self._resource}")

    @once
    def scaling_policies(self) -> Sequence[Item]:
        pages = self.aws.autoscaling.get_paginator("describe_scaling_policies").paginate(
            ServiceNamespace="ecs", ResourceId=self._resource, ScalableDimension="ecs:service:DesiredCount"
        )
        return items(pages, "ScalingPolicies")

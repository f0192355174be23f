"""Responses of Application Auto Scaling that moto lacks: tags and scaling activities."""

from __future__ import annotations

import json
import time
from typing import Any

from moto.applicationautoscaling import models, urls
from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse

from mclass_tf.local.aws import pages
from mclass_tf.local.aws.autoscaling.backend import Activity, LocalAutoscalingBackend
from mclass_tf.local.aws.autoscaling.tracking_alarms import Policy
from mclass_tf.local.aws.extend import use_backend, use_responses


class LocalAutoscalingResponses(ApplicationAutoScalingResponse):  # type: ignore[misc]
    """moto lacks these tags, which the provider reads for every scalable target.

    https://docs.aws.amazon.com/autoscaling/application/APIReference/API_ListTagsForResource.html
    """

    def list_tags_for_resource(self) -> str:
        return json.dumps({"Tags": self._tags()})

    def tag_resource(self) -> str:
        self._tags().update(self._get_param("Tags"))
        return "{}"

    def untag_resource(self) -> str:
        tags = self._tags()
        for key in self._get_param("TagKeys"):
            tags.pop(key, None)
        return "{}"

    def register_scalable_target(self) -> str:
        answer: str = super().register_scalable_target()
        tags = self._get_param("Tags")
        if tags:
            backend = self.applicationautoscaling_backend
            backend.tags.setdefault(json.loads(answer)["ScalableTargetARN"], {}).update(tags)
        return answer

    def _get_int_param(self, param_name: str, if_none: Any = None) -> Any:
        asked = super()._get_int_param(param_name, if_none)
        is_paged = self._get_action() == "DescribeScalingPolicies"
        return pages.size(asked) if param_name == "MaxResults" and is_paged else asked

    def describe_scaling_activities(self) -> str:
        """Return the activities of a service, for the AWS CLI: they explain why it was scaled.

        https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DescribeScalingActivities.html
        """
        backend: LocalAutoscalingBackend = self.applicationautoscaling_backend
        backend.settle(now=time.time())
        resource_id = self._get_param("ResourceId")
        activities = [
            entry for entry in reversed(backend.activities) if resource_id in (None, entry.resource_id)
        ]
        if self._get_param("ServiceNamespace") != "ecs":
            activities = []
        page, following = pages.cut(
            activities, token=self._get_param("NextToken"), asked=self._get_int_param("MaxResults")
        )
        answer: dict[str, Any] = {"ScalingActivities": [_activity(entry) for entry in page]}
        if following:
            answer["NextToken"] = following
        return json.dumps(answer)

    def _tags(self) -> dict[str, str]:
        backend: LocalAutoscalingBackend = self.applicationautoscaling_backend
        arn = str(self._get_param("ResourceARN"))
        backend.require_target(arn)
        return backend.tags.setdefault(arn, {})


def _activity(entry: Activity) -> dict[str, Any]:
    return {
        "ActivityId": entry.id,
        "ServiceNamespace": "ecs",
        "ResourceId": entry.resource_id,
        "ScalableDimension": "ecs:service:DesiredCount",
        "Description": f"Setting desired count to {entry.capacity}.",
        "Cause": entry.cause,
        "StartTime": entry.started_at,
        **({} if entry.ended_at is None else {"EndTime": entry.ended_at}),
        "StatusCode": "InProgress" if entry.ended_at is None else "Successful",
        "StatusMessage": entry.status_message,
    }


def install() -> None:
    models.FakeApplicationAutoscalingPolicy = Policy
    use_backend(backends=applicationautoscaling_backends, urls=urls, backend=LocalAutoscalingBackend)
    use_responses(urls=urls, responses=LocalAutoscalingResponses)

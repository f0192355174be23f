"""Application Auto Scaling: scalable targets and policies, with their tags."""

from __future__ import annotations

import json
from typing import Any

from moto.applicationautoscaling import urls
from moto.applicationautoscaling.models import ApplicationAutoscalingBackend, applicationautoscaling_backends
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
from moto.core.exceptions import JsonRESTError

from mclass_tf.local.aws.extend import use_backend, use_responses


class Backend(ApplicationAutoscalingBackend):  # type: ignore[misc]  # moto is not typed for us
    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.tags: dict[str, dict[str, str]] = {}

    def register_scalable_target(self, *args: Any, **kwargs: Any) -> Any:
        return super().register_scalable_target(*args, **kwargs)

    def require_target(self, arn: str) -> None:
        known = {target.arn for targets in self.targets.values() for target in targets.values()}
        if arn not in known:
            raise _error("ResourceNotFoundException", f"No scalable target found for resource ARN: {arn}")


class Responses(ApplicationAutoScalingResponse):  # type: ignore[misc]
    """moto has no tags here; the provider reads those of every scalable target.

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

    def _tags(self) -> dict[str, str]:
        backend: Backend = self.applicationautoscaling_backend
        arn = str(self._get_param("ResourceARN"))
        backend.require_target(arn)
        return backend.tags.setdefault(arn, {})


def _error(code: str, message: str) -> Exception:
    error: Exception = JsonRESTError(code, message)
    return error


def install() -> None:
    use_backend(backends=applicationautoscaling_backends, urls=urls, backend=Backend)
    use_responses(urls=urls, responses=Responses)

"""Application Auto Scaling: scalable targets and policies, with their tags."""

from __future__ import annotations

import json
from typing import Any

from moto.applicationautoscaling import urls
from moto.applicationautoscaling.models import ApplicationAutoscalingBackend, applicationautoscaling_backends
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
from moto.core.exceptions import JsonRESTError
from moto.ecs.models import ecs_backends

from mclass_tf.local.aws.extend import use_backend, use_responses

_ECS_METRICS = (
    "ALBRequestCountPerTarget",
    "ECSServiceAverageCPUUtilization",
    "ECSServiceAverageMemoryUtilization",
)


class Backend(ApplicationAutoscalingBackend):  # type: ignore[misc]  # moto is not typed for us
    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.tags: dict[str, dict[str, str]] = {}

    def register_scalable_target(  # noqa: PLR0917  moto's signature
        self,
        namespace: str,
        r_id: str,
        dimension: str,
        min_capacity: int | None,
        max_capacity: int | None,
        role_arn: str,
        suspended_state: str,
    ) -> Any:
        """https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html"""
        known = self.targets.get(dimension, {}).get(r_id)
        lowest = known.min_capacity if min_capacity is None and known else min_capacity
        highest = known.max_capacity if max_capacity is None and known else max_capacity
        if lowest is None or highest is None:
            raise _error(
                "ValidationException", "MinCapacity and MaxCapacity are required for a new scalable target"
            )
        if lowest > highest:
            raise _error("ValidationException", "Maximum capacity cannot be less than minimum capacity")
        registered = super().register_scalable_target(
            namespace, r_id, dimension, min_capacity, max_capacity, role_arn, suspended_state
        )
        if namespace == "ecs":
            self._keep_within(r_id, lowest=lowest, highest=highest)
        return registered

    def _keep_within(self, resource_id: str, *, lowest: int, highest: int) -> None:
        """Bounds hold from the moment that they are registered: a service outside of them is scaled to the nearer one.

        https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-scalable-targets.html
        """
        _, cluster, name = resource_id.split("/")
        ecs: Any = ecs_backends[self.account_id][self.region_name]
        service = ecs.active_service(cluster=ecs.active_cluster(cluster), reference=name)
        wanted = min(max(service.desired_count, lowest), highest)
        if wanted != service.desired_count:
            service.update({"desiredCount": wanted}, force=False)

    def put_scaling_policy(  # noqa: PLR0917  moto's signature
        self,
        policy_name: str,
        service_namespace: str,
        resource_id: str,
        scalable_dimension: str,
        policy_body: dict[str, Any] | None,
        policy_type: str | None,
    ) -> Any:
        """A policy scales a target that is registered.

        https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html
        """
        if resource_id not in self.targets.get(scalable_dimension, {}):
            raise _error(
                "ObjectNotFoundException",
                f"No scalable target registered for service namespace: {service_namespace}, resource ID: "
                f"{resource_id}, scalable dimension: {scalable_dimension}",
            )
        named = ((policy_body or {}).get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType")
        if service_namespace == "ecs" and named not in (None, *_ECS_METRICS):
            raise _error("ValidationException", f"Metric {named} is not one of: {', '.join(_ECS_METRICS)}")
        return super().put_scaling_policy(
            policy_name, service_namespace, resource_id, scalable_dimension, policy_body, policy_type
        )

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

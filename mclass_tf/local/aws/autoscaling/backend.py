"""Application Auto Scaling of ECS services: the scalable targets and scaling policies that modules/ecs-service uses."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moto.applicationautoscaling.models import ApplicationAutoscalingBackend, applicationautoscaling_backends
from moto.core.exceptions import JsonRESTError
from moto.ecs.exceptions import ECSException
from moto.ecs.models import ecs_backends

from mclass_tf.local.aws.autoscaling.decide import (
    COOLDOWN,
    Capacity,
    LastActivity,
    Reading,
    ScalingDecision,
    decide,
)
from mclass_tf.local.aws.autoscaling.tracking_alarms import REQUESTS, Policy
from mclass_tf.local.live import live

_ECS_METRICS = (
    "ALBRequestCountPerTarget",
    "ECSServiceAverageCPUUtilization",
    "ECSServiceAverageMemoryUtilization",
)
_DIMENSION = "ecs:service:DesiredCount"
_MAX_ACTIVITIES = 1000

ValueOf = Callable[[Any], float | None]
"""Returns the newest value of an alarm's metric, or None."""


@dataclass(kw_only=True)
class Activity:
    """A scaling activity. Times are in seconds since the epoch.

    https://docs.aws.amazon.com/autoscaling/application/APIReference/API_ScalingActivity.html
    """

    id: str
    resource_id: str
    capacity: int
    before: int
    cause: str
    started_at: float
    ended_at: float | None = None

    @property
    def status_message(self) -> str:
        waiting, done = "Waiting for change to be fulfilled by ecs.", "Change successfully fulfilled by ecs."
        progress = waiting if self.ended_at is None else done
        return f"Successfully set desired count to {self.capacity}. {progress}"


class LocalAutoscalingBackend(ApplicationAutoscalingBackend):  # type: ignore[misc]  # moto is not typed for us
    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.tags: dict[str, dict[str, str]] = {}
        self.activities: deque[Activity] = deque(maxlen=_MAX_ACTIVITIES)

    def register_scalable_target(
        self,
        namespace: str,
        r_id: str,
        dimension: str,
        *,
        min_capacity: int | None,
        max_capacity: int | None,
        **settings: Any,
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
            namespace, r_id, dimension, min_capacity=min_capacity, max_capacity=max_capacity, **settings
        )
        if namespace == "ecs":
            self._keep_within(r_id, lowest=lowest, highest=highest)
        return registered

    def deregister_scalable_target(self, namespace: str, r_id: str, dimension: str) -> None:
        """Delete the target's policies, too. moto keeps them.

        https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DeregisterScalableTarget.html
        """
        super().deregister_scalable_target(namespace, r_id, dimension)
        for policy in list(self.policies.values()):
            if (policy.resource_id, policy.scalable_dimension) == (r_id, dimension):
                self.delete_scaling_policy(policy.policy_name, namespace, r_id, dimension)

    def _keep_within(self, resource_id: str, *, lowest: int, highest: int) -> None:
        """Scale a service outside the bounds to the nearer one: they apply as soon as they are registered.

        https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-scalable-targets.html
        """
        service = self.service(resource_id)
        count = min(max(service.desired_count, lowest), highest)
        if count != service.desired_count:
            bound = "minimum" if count == lowest else "maximum"
            self.scale(resource_id, count, cause=f"{bound} capacity was set to {count}", now=time.time())

    def service(self, resource_id: str) -> Any:
        """Return the ECS service of a resource id, service/CLUSTER/NAME."""
        _, cluster, name = resource_id.split("/")
        ecs: Any = ecs_backends[self.account_id][self.region_name]
        return ecs.active_service(cluster=ecs.active_cluster(cluster), reference=name)

    def scale(self, resource_id: str, capacity: int, *, cause: str, now: float) -> None:
        service = self.service(resource_id)
        activity = Activity(
            id=str(uuid.uuid4()),
            resource_id=resource_id,
            capacity=capacity,
            before=service.desired_count,
            cause=cause,
            started_at=now,
        )
        self.activities.append(activity)
        service.update({"desiredCount": capacity}, force=False)
        live.changed("ecs")
        live.changed("autoscaling")

    def put_scaling_policy(  # noqa: PLR0917  moto's signature
        self,
        policy_name: str,
        service_namespace: str,
        resource_id: str,
        scalable_dimension: str,
        policy_body: dict[str, Any] | None,
        policy_type: str | None,
    ) -> Any:
        """Require a registered target. An updated policy keeps its ARN and gets new alarms.

        https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html
        """
        if resource_id not in self.targets.get(scalable_dimension, {}):
            raise _error(
                "ObjectNotFoundException",
                f"No scalable target registered for service namespace: {service_namespace}, resource ID: "
                f"{resource_id}, scalable dimension: {scalable_dimension}",
            )
        key = Policy.formulate_key(service_namespace, resource_id, scalable_dimension, policy_name)
        before = self.policies.get(key)
        body = policy_body or (before._policy_body if before else None) or {}  # noqa: SLF001
        if service_namespace == "ecs":
            _check_policy(policy_type or (before.policy_type if before else "StepScaling"), body)
        if before is not None:
            before.delete_alarms(self.account_id, self.region_name)
        return super().put_scaling_policy(
            policy_name, service_namespace, resource_id, scalable_dimension, policy_body, policy_type
        )

    def describe_scaling_policies(
        self,
        service_namespace: str,
        resource_id: str | None,
        scalable_dimension: str | None,
        max_results: int | None,
        next_token: str | None,
    ) -> Any:
        """Match the whole resource id, as the provider expects. moto matches parts of it."""
        token, policies = super().describe_scaling_policies(
            service_namespace, resource_id, scalable_dimension, max_results, next_token
        )
        return token, [policy for policy in policies if resource_id in (None, policy.resource_id)]

    def require_target(self, arn: str) -> None:
        known = {target.arn for targets in self.targets.values() for target in targets.values()}
        if arn not in known:
            raise _error("ResourceNotFoundException", f"No scalable target found for resource ARN: {arn}")

    def settle(self, *, now: float) -> None:
        """End the activities whose service has reached its capacity or has a newer activity."""
        newest = {activity.resource_id: activity for activity in self.activities}
        for activity in self.activities:
            if activity.ended_at is None and (
                newest[activity.resource_id] is not activity or self._is_fulfilled(activity)
            ):
                activity.ended_at = now

    def _is_fulfilled(self, activity: Activity) -> bool:
        service = self._find_service(activity.resource_id)
        if service is None:
            return True
        document = service.document()
        return bool(document["runningCount"] == document["desiredCount"])

    def _find_service(self, resource_id: str) -> Any | None:
        try:
            return self.service(resource_id)
        except ECSException:
            return None

    # ---- target tracking

    def track(self, resource_id: str, *, value_of: ValueOf, now: float) -> None:
        """Evaluate the tracking policies of a service and scale it if necessary."""
        target = self.targets[_DIMENSION][resource_id]
        suspended = target.suspended_state or {}
        service = self._find_service(resource_id)
        if service is None:
            return  # the service was deleted; its scalable target remains
        capacity = Capacity(
            current=service.desired_count,
            lowest=target.min_capacity,
            highest=target.max_capacity,
            can_scale_out=not suspended.get("DynamicScalingOutSuspended"),
            can_scale_in=not suspended.get("DynamicScalingInSuspended"),
            is_deploying=_is_deploying(service.document()),
        )
        decision = decide(
            capacity,
            [_reading(policy, value_of) for policy in self.tracking(resource_id)],
            last_out=self._last(resource_id, is_out=True, now=now),
            last_in=self._last(resource_id, is_out=False, now=now),
        )
        if decision is not None:
            self.scale(resource_id, decision.capacity, cause=_cause(decision), now=now)

    def tracking(self, resource_id: str) -> Iterator[Policy]:
        """Yield the target tracking policies of a service."""
        for policy in self.policies.values():
            if policy.resource_id == resource_id and policy.policy_type == "TargetTrackingScaling":
                yield policy

    def _last(self, resource_id: str, *, is_out: bool, now: float) -> LastActivity:
        for activity in reversed(self.activities):
            if activity.resource_id != resource_id or not activity.cause.startswith("monitor alarm"):
                continue
            if (activity.capacity > activity.before) == is_out:
                ago = (now - activity.started_at) * live.clock.speed
                return LastActivity(ago=ago, before=activity.before)
        return LastActivity()


def is_policy(action: str) -> bool:
    """Return whether an alarm action is a scaling policy of Application Auto Scaling."""
    return action.startswith("arn:aws:autoscaling:") and ":scalingPolicy:" in action


def act(account_id: str, region: str, *, action: str, value_of: ValueOf, now: float) -> None:
    """Execute the scaling policy that the action of an alarm in ALARM names. Call it under the API lock."""
    backend: LocalAutoscalingBackend = applicationautoscaling_backends[account_id][region]
    arn = action.partition(":createdBy/")[0]
    for policy in backend.policies.values():
        if policy.policy_arn == arn and policy.policy_type == "TargetTrackingScaling":
            backend.track(policy.resource_id, value_of=value_of, now=now)
            return


def settle(account_id: str, region: str, *, now: float) -> None:
    """End the fulfilled scaling activities. Call it under the API lock."""
    applicationautoscaling_backends[account_id][region].settle(now=now)


def _reading(policy: Policy, value_of: ValueOf) -> Reading:
    high, low = policy.alarms
    settings = policy.configuration
    return Reading(
        policy=policy.policy_name,
        target=policy.target_value,
        value=value_of(high),
        high=high.name if high.state_value == "ALARM" else None,
        low=low.name if low.state_value == "ALARM" else None,
        scale_out_cooldown=float(settings.get("ScaleOutCooldown", COOLDOWN)),
        scale_in_cooldown=float(settings.get("ScaleInCooldown", COOLDOWN)),
        can_scale_in=not settings.get("DisableScaleIn"),
    )


def _cause(decision: ScalingDecision) -> str:
    return f"monitor alarm {decision.alarm} in state ALARM triggered policy {decision.policy}"


def _is_deploying(document: Mapping[str, Any]) -> bool:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/troubleshoot-service-auto-scaling.html"""
    return any(entry["rolloutState"] == "IN_PROGRESS" for entry in document["deployments"])


def _check_policy(kind: str, body: Mapping[str, Any]) -> None:
    if kind != "TargetTrackingScaling":
        raise NotImplementedError(f"policies of the type {kind}")
    predefined, custom = body.get("PredefinedMetricSpecification"), body.get("CustomizedMetricSpecification")
    if (predefined is None) == (custom is None):
        raise _error(
            "ValidationException",
            "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be specified",
        )
    if float(body.get("TargetValue") or 0) <= 0:
        raise _error("ValidationException", "TargetValue must be greater than 0")
    if predefined is None:
        return
    metric = predefined.get("PredefinedMetricType")
    if metric not in _ECS_METRICS:
        raise _error("ValidationException", f"Metric {metric} is not one of: {', '.join(_ECS_METRICS)}")
    if metric == REQUESTS and "/targetgroup/" not in str(predefined.get("ResourceLabel")):
        raise _error(
            "ValidationException",
            f"ResourceLabel must name the load balancer and the target group of {REQUESTS}: "
            "app/LOAD-BALANCER/ID/targetgroup/TARGET-GROUP/ID",
        )


def _error(code: str, message: str) -> Exception:
    error: Exception = JsonRESTError(code, message)
    return error

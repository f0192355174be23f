"""The deployments that serve during a service deployment: the primary one, and blue beside it."""

from __future__ import annotations

from mclass_tf.local.aws.ecs.model import stages
from mclass_tf.local.aws.ecs.model.deployment import Deployment
from mclass_tf.local.aws.ecs.model.service import Service


def is_shifting(service: Service) -> bool:
    """Return whether the service deployment shifts traffic. The strategy of the service itself may have changed since."""
    return bool(service.primary.record.configuration["strategy"] != stages.ROLLING)


def blue_deployment(service: Service) -> Deployment | None:
    """Return the deployment that serves beside the primary one, or None once that has all traffic."""
    blue, progress = service.completed, service.primary.record.progress
    if blue is None or blue is service.primary or service.status != "ACTIVE":
        return None
    if is_shifting(service):
        return None if progress.is_last else blue
    return blue if progress.is_before_scale_up else None


def other_deployment(service: Service) -> Deployment | None:
    """Return the deployment that has the rest of the traffic: the replaced one, or in a rollback the failed one."""
    others, blue = service.deployments[1:], blue_deployment(service)
    return blue if blue in others else next(iter(others), None)

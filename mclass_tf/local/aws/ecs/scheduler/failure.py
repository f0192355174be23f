"""Detects failed service deployments: requested rollback, lifecycle hook, circuit breaker, alarms, traffic shift."""

from __future__ import annotations

from dataclasses import dataclass

from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.service_deployment import Monitor
from mclass_tf.local.aws.ecs.model.stages import HOOK_FAILED
from mclass_tf.local.aws.ecs.scheduler.alarms import alarm_options, triggered_alarms
from mclass_tf.local.aws.ecs.scheduler.world import SchedulerWorld


@dataclass(frozen=True, kw_only=True)
class DeploymentFailure:
    """`source` is what detected the failure. `cause` completes the status reason of the service deployment ("… because …").

    `event` is the reason in the service event; None adds no event. `state_reason` becomes `rolloutStateReason` of the deployment.
    `monitor` is the monitor to mark as TRIGGERED.
    """

    source: str
    cause: str
    event: str | None
    state_reason: str
    rolls_back: bool = True
    monitor: Monitor | None = None
    alarms: tuple[str, ...] = ()


def detect_failure(service: Service, *, world: SchedulerWorld) -> DeploymentFailure | None:
    """Return why the current service deployment has failed, or None."""
    deployment = service.primary
    if deployment.record.status == "ROLLBACK_REQUESTED":
        return DeploymentFailure(
            source="rollback requested",
            cause="a rollback was requested",
            event=None,
            state_reason=f"ECS deployment {deployment.id} stopped: a rollback was requested.",
        )
    if not deployment.is_in_progress or service.status != "ACTIVE":
        return None
    return _hook_failure(service) or _breaker_failure(service) or _alarm_failure(service, world=world)


def traffic_failure(cause: str, *, stage: str) -> DeploymentFailure:
    return _stage_failure("traffic shift", f"{stage} {HOOK_FAILED}. {cause}")


def _hook_failure(service: Service) -> DeploymentFailure | None:
    record = service.primary.record
    if not record.progress.has_failed or record.status != "IN_PROGRESS":
        return None
    return _stage_failure("lifecycle hook", record.progress.failure)


def _stage_failure(source: str, cause: str) -> DeploymentFailure:
    """Return a failure whose service event quotes the status reason.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/troubleshooting-blue-green.html
    """
    return DeploymentFailure(
        source=source,
        cause=cause,
        event=f"Service deployment rolled back because {cause}",
        state_reason=f"ECS deployment {source}: {cause}.",
    )


def _breaker_failure(service: Service) -> DeploymentFailure | None:
    deployment, record = service.primary, service.primary.record
    options = service.settings["deploymentConfiguration"]["deploymentCircuitBreaker"]
    if options.get("enable") and deployment.failed_tasks >= record.breaker_threshold:
        return _failure(
            "circuit breaker",
            "tasks failed to start",
            cause="the circuit breaker threshold was exceeded",
            rolls_back=bool(options.get("rollback")),
            monitor=record.breaker,
        )
    return None


def _alarm_failure(service: Service, *, world: SchedulerWorld) -> DeploymentFailure | None:
    record = service.primary.record
    alarms = triggered_alarms(service, world=world) if record.alarms.status == "MONITORING" else []
    if alarms and record.status == "IN_PROGRESS":
        return _failure(
            "alarms",
            "alarm detected",
            cause=f"CloudWatch alarms were triggered: {', '.join(alarms)}",
            rolls_back=bool(alarm_options(service).get("rollback")),
            monitor=record.alarms,
            alarms=tuple(alarms),
        )
    return None


def _failure(
    source: str,
    event: str,
    *,
    cause: str,
    rolls_back: bool = True,
    monitor: Monitor | None = None,
    alarms: tuple[str, ...] = (),
) -> DeploymentFailure:
    return DeploymentFailure(
        source=source,
        cause=cause,
        event=event,
        state_reason=f"ECS deployment {source}: {event}.",
        rolls_back=rolls_back,
        monitor=monitor,
        alarms=alarms,
    )

"""Rolls back or stops a service deployment that has failed."""

from __future__ import annotations

from mclass_tf.local.aws.ecs.model import stages
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.scheduler import events
from mclass_tf.local.aws.ecs.scheduler.failure import DeploymentFailure

_NO_CANDIDATE = "No rollback candidate was found to run the rollback."


def fail_deployment(service: Service, failure: DeploymentFailure) -> None:
    deployment, record = service.primary, service.primary.record
    if failure.monitor is not None:
        failure.monitor.trip()
    if failure.alarms:
        record.triggered_alarms = list(failure.alarms)
    if failure.event is not None:
        service.add_event(events.deployment_failed(deployment.id, reason=failure.event))
    deployment.set_rollout_state("FAILED", reason=failure.state_reason)
    if failure.rolls_back:
        _roll_back(service, failure)
    else:
        record.end("STOPPED", reason=f"Service deployment stopped because {failure.cause}.")


def _roll_back(service: Service, failure: DeploymentFailure) -> None:
    """Make the deployment that completed last primary again. It keeps its id and must complete before the next rollback to it."""
    deployment = service.primary
    record, candidate = deployment.record, service.completed
    if candidate is None or candidate is deployment:
        record.end("ROLLBACK_FAILED", reason=_NO_CANDIDATE)
        return
    service.completed = None
    service.add_event(events.rolling_back(candidate.id))
    service.switch(
        candidate, reason=f"ECS deployment {failure.source}: rolling back to deploymentId {candidate.id}."
    )
    candidate.record = record
    record.progress.fail_open_hooks()
    record.progress = stages.rollback_progress(record.configuration, before=record.progress)
    record.roll_back(
        reason=f"Service deployment rolled back because {failure.cause}.", revision_arn=candidate.revision.arn
    )

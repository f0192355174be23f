"""Advances a service deployment through its lifecycle stages."""

from __future__ import annotations

from dataclasses import dataclass

from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.stages import Need, StageContext
from mclass_tf.local.aws.ecs.scheduler import shifting
from mclass_tf.local.aws.ecs.scheduler.failure import detect_failure, traffic_failure
from mclass_tf.local.aws.ecs.scheduler.observation import Observation
from mclass_tf.local.aws.ecs.scheduler.rollback import fail_deployment
from mclass_tf.local.aws.ecs.scheduler.rolling import minimum_healthy
from mclass_tf.local.aws.ecs.scheduler.serving import blue_deployment
from mclass_tf.local.aws.ecs.scheduler.traffic import TrafficError
from mclass_tf.local.aws.ecs.scheduler.world import SchedulerWorld
from mclass_tf.local.live import live


@dataclass(frozen=True, kw_only=True)
class AdvanceResult:
    """`has_moved` is True after a change of stage or a failure. `wake_at` is when to try again; None means at the next change."""

    has_moved: bool = False
    wake_at: float | None = None


def advance_stages(service: Service, observation: Observation, *, world: SchedulerWorld) -> AdvanceResult:
    record = service.primary.record
    if not service.primary.is_in_progress or record.has_ended or service.status != "ACTIVE":
        return AdvanceResult()
    progress = record.progress
    position, hooks = progress.position, len(progress.pauses)
    try:
        wake_at = progress.advance(_context(service, observation, world=world))
    except TrafficError as error:
        _fail_shift(service, cause=str(error))
        return AdvanceResult(has_moved=True)
    if len(progress.pauses) > hooks:
        live.changed("hooks")
    if progress.has_failed:
        failure = detect_failure(service, world=world)
        if failure is not None:
            fail_deployment(service, failure)
        return AdvanceResult(has_moved=True, wake_at=wake_at)
    if record.is_cleaning_up:
        record.alarms.end()
    return AdvanceResult(has_moved=progress.position != position, wake_at=wake_at)


def _context(service: Service, observation: Observation, *, world: SchedulerWorld) -> StageContext:
    return StageContext(
        now=observation.now,
        real=world.clock.real,
        is_met=lambda need: _is_met(need, service=service, observation=observation),
        shift=lambda step: shifting.shift_traffic(step, service=service, world=world),
    )


def _is_met(need: Need, *, service: Service, observation: Observation) -> bool:
    desired = service.desired_count
    minimum = max(1, minimum_healthy(desired, service.settings["deploymentConfiguration"]))
    required = {Need.SERVING: min(desired, 1), Need.MINIMUM: min(desired, minimum), Need.SCALED: desired}
    if need in required:
        return observation.healthy_count(service.primary) >= required[need]
    if need is Need.BLUE:
        blue = blue_deployment(service)
        return blue is None or observation.healthy_count(blue) >= required[Need.MINIMUM]
    return need is Need.NOTHING or observation.is_settled(service)


def _fail_shift(service: Service, *, cause: str) -> None:
    deployment = service.primary
    if deployment.record.status == "IN_PROGRESS":
        fail_deployment(service, traffic_failure(cause, stage=deployment.record.progress.stage))
        return
    # Both revisions keep running, since either may have traffic. The next deployment rolls back to this one.
    deployment.set_rollout_state("COMPLETED", reason=f"ECS deployment traffic shift: {cause}.")
    deployment.record.end("ROLLBACK_FAILED", reason=f"Traffic could not be shifted back: {cause}.")
    service.completed = deployment

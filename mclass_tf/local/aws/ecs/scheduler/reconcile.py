"""Reconciles a service with its desired state: one pass over its tasks, under the lock of the API calls."""

from __future__ import annotations

from mclass_tf.local.aws.ecs.model import breaker
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.scheduler import shifting
from mclass_tf.local.aws.ecs.scheduler.advance import advance_stages
from mclass_tf.local.aws.ecs.scheduler.alarms import triggered_alarms
from mclass_tf.local.aws.ecs.scheduler.failure import detect_failure
from mclass_tf.local.aws.ecs.scheduler.observation import earliest, observe
from mclass_tf.local.aws.ecs.scheduler.rollback import fail_deployment
from mclass_tf.local.aws.ecs.scheduler.scaling import scale
from mclass_tf.local.aws.ecs.scheduler.serving import is_shifting
from mclass_tf.local.aws.ecs.scheduler.settling import settle
from mclass_tf.local.aws.ecs.scheduler.transitions import record_transitions
from mclass_tf.local.aws.ecs.scheduler.world import LOCAL_WORLD, SchedulerWorld


def reconcile(service: Service, *, world: SchedulerWorld = LOCAL_WORLD) -> float | None:
    """Do what is due. Return when to reconcile again without a change (seconds since the epoch), or None for never."""
    if service.status == "INACTIVE":
        return None
    observed = observe(service, world=world)
    _begin_service_deployment(service, world=world)
    record_transitions(service, observed, clock=world.clock)
    if (failure := detect_failure(service, world=world)) is not None:
        fail_deployment(service, failure)
    advanced = advance_stages(service, observed, world=world)
    scaled = scale(service, observed, world=world)
    readvanced = advance_stages(service, scaled.observation, world=world)
    rescaled = scale(service, scaled.observation, world=world) if readvanced.has_moved else scaled
    baked_at = settle(service, rescaled.observation, world=world)
    steps = (observed, advanced, scaled, readvanced, rescaled)
    return earliest((baked_at, *(step.wake_at for step in steps)), after=observed.now)


def _begin_service_deployment(service: Service, *, world: SchedulerWorld) -> None:
    record = service.primary.record
    options = service.settings["deploymentConfiguration"]["deploymentCircuitBreaker"]
    record.breaker_threshold = breaker.threshold(options, desired=service.desired_count)
    if record.status == "PENDING":
        record.begin(ignores_alarms=bool(triggered_alarms(service, world=world)))
        if is_shifting(service):
            shifting.record_shares(service, production=0.0, test=0.0)

"""Plans the starts and stops of tasks: a pure function of the service and the observation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mclass_tf.local.aws.ecs.model.deployment import Deployment
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.scheduler import blue_green, rolling
from mclass_tf.local.aws.ecs.scheduler.observation import Observation
from mclass_tf.local.aws.ecs.scheduler.serving import is_shifting
from mclass_tf.local.aws.ecs.scheduler.view import ScalingDecision, ServiceView, TaskView


def plan_scaling(service: Service, observation: Observation, *, blue: Deployment | None) -> ScalingDecision:
    """Return which tasks to stop and how many to start. `blue` is the deployment that serves beside the primary one."""
    if is_shifting(service) or blue is not None or not service.primary.keeps_tasks:
        return blue_green.decide(_view_with_blue(service, observation, blue=blue))
    return rolling.decide(_view(service, service.primary, observation.views, now=observation.now))


def _view(service: Service, deployment: Deployment, tasks: Sequence[TaskView], *, now: float) -> ServiceView:
    desired = service.desired_count if deployment.keeps_tasks else 0
    configuration = service.settings["deploymentConfiguration"]
    return ServiceView(
        desired=desired,
        minimum=rolling.minimum_healthy(desired, configuration),
        maximum=rolling.maximum_running(desired, configuration),
        primary=deployment.id,
        tasks=tasks,
        is_failed=deployment.is_failed,
        may_launch=now >= deployment.no_launch_before,
        held=len(deployment.ended_at),
    )


def _view_with_blue(service: Service, observation: Observation, *, blue: Deployment | None) -> ServiceView:
    """Return a view of the primary deployment that contains the view of `blue`, each with its own tasks."""
    primary, tasks, now = service.primary, observation.views, observation.now
    blue_id = None if blue is None else blue.id
    own = [task for task in tasks if task.deployment_id == primary.id]
    blue_tasks = [task for task in tasks if task.deployment_id == blue_id]
    return dataclasses.replace(
        _view(service, primary, own, now=now),
        blue=None if blue is None else _view(service, blue, blue_tasks, now=now),
        others=[task for task in tasks if task.deployment_id not in {primary.id, blue_id}],
        may_stop_others=_may_stop_others(service, blue=blue),
    )


def _may_stop_others(service: Service, *, blue: Deployment | None) -> bool:
    """Tasks of other deployments may stop once no traffic can reach them."""
    progress = service.primary.record.progress
    if service.status != "ACTIVE" or progress.is_last:
        return True
    has_no_traffic = is_shifting(service) and progress.has_reconciled and not service.primary.is_failed
    return blue is not None and has_no_traffic

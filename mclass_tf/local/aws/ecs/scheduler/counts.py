"""Counts the tasks of a service's deployments and of its current service deployment."""

from __future__ import annotations

from collections.abc import Iterable

from mclass_tf.local.aws.ecs.model import stages
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.service_deployment import TaskCounts
from mclass_tf.local.aws.ecs.model.task import Task

_PENDING = ("PROVISIONING", "PENDING", "ACTIVATING")


def count_tasks(service: Service, tasks: Iterable[Task]) -> None:
    service_tasks = [task for task in tasks if service.owns(task)]
    for deployment in service.deployments:
        own = [task for task in service_tasks if task.deployment_id == deployment.id]
        meant_to_run = [task for task in own if task.desired_status == "RUNNING"]
        deployment.counts = TaskCounts(
            requested=service.desired_count if deployment.keeps_tasks else len(meant_to_run),
            running=sum(task.last_status == "RUNNING" for task in own),
            pending=sum(task.last_status in _PENDING for task in meant_to_run),
            production=deployment.production,
            test=deployment.test,
        )
        if deployment.revision.arn == deployment.record.target_arn and not deployment.record.has_ended:
            deployment.record.target = deployment.counts
    _count_source_revisions(service)


def _count_source_revisions(service: Service) -> None:
    """Strategies that shift traffic report the current counts of source revisions, not those at the start."""
    record = service.primary.record
    if record.has_ended or record.configuration["strategy"] == stages.ROLLING:
        return
    no_tasks = TaskCounts(production=0.0, test=0.0)
    counts = {deployment.revision.arn: deployment.counts for deployment in service.deployments}
    record.sources = [(arn, counts.get(arn, no_tasks)) for arn, _ in record.sources]

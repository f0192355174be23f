"""Checks that the local AWS is at rest: activity under way could not continue from a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from moto.s3.models import FakeDeleteMarker, s3_backends

from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.scheduler.scheduler import all_services

_STATE_LOCK = ".tflock"  # the suffix of the lock's key in Terraform's S3 backend


def under_way(tasks: Iterable[Task]) -> list[str]:
    """Describe everything under way; empty if at rest. Call it while holding the API lock."""
    return [*_services(), *_standalone(tasks), *_locks()]


def _services() -> Iterator[str]:
    for service in all_services():
        name = f"service {service.name} of account {service.account_id}"
        if service.status == "DRAINING":
            yield f"{name} is being deleted"
        elif service.status == "ACTIVE" and not service.records[0].has_ended:
            yield f"a deployment of {name} is {service.records[0].status}"


def _standalone(tasks: Iterable[Task]) -> Iterator[str]:
    for task in tasks:
        if task.launch.is_standalone:
            yield f"task {task.id} of account {task.launch.account_id} is {task.last_status}"


def _locks() -> Iterator[str]:
    for account_id, partitions in s3_backends.items():
        for backend in partitions.values():
            for bucket in backend.buckets.values():
                for key in bucket.keys:
                    if key.endswith(_STATE_LOCK) and not isinstance(bucket.keys[key], FakeDeleteMarker):
                        yield f"Terraform holds the lock {key} in bucket {bucket.name} of account {account_id}"

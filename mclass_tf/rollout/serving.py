"""Checks, after ECS reports success, that only the released revision serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from mclass_tf.errors import Hint, NotServingError
from mclass_tf.rollout.client import EcsClient, Patience
from mclass_tf.service import Service, Task

_SETTLED_WITHIN = 10.0  # seconds within which the answers of different ECS calls become consistent
_PAUSE = 0.5


def require_sole_revision(
    client: EcsClient,
    *,
    task_definition_arn: str,
    container: str,
    digest: str,
    patience: Patience,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> tuple[Task, ...]:
    """Return the running tasks; raise NotServingError if too few run, or any are not of `task_definition_arn`."""
    began = clock()
    while True:
        service = patience(client.service)
        tasks = tuple(task for task in patience(client.tasks) if task.last_status == "RUNNING")
        states = patience(lambda: client.target_states(service.target_group_arns))  # noqa: B023  # called at once
        problems = [
            *_of_service(service, task_definition_arn),
            *_of_tasks(tasks, task_definition_arn, container=container, digest=digest),
            *_of_targets(tasks, dict(states), service),
        ]
        if not problems:
            return tasks
        if clock() - began >= _SETTLED_WITHIN:
            raise NotServingError(
                f"ECS calls the deployment successful, but {problems[0]}",
                hint=Hint(("status", "ENV"), " shows what runs; somebody may have changed the service since"),
                cause="; ".join(problems),
            )
        wait(_PAUSE)


def _of_service(service: Service, task_definition_arn: str) -> Iterator[str]:
    primary = service.primary
    intended = "nothing" if primary is None else primary.task_definition_arn
    if intended != task_definition_arn:
        yield f"the service is to run {intended}"
    elif primary is not None and primary.rollout_state not in ("", "COMPLETED"):
        yield f"its deployment is {primary.rollout_state}"
    if service.running < service.desired:
        yield f"{service.running} of {service.desired} tasks run"


def _of_tasks(
    tasks: tuple[Task, ...], task_definition_arn: str, *, container: str, digest: str
) -> Iterator[str]:
    for task in tasks:
        if task.task_definition_arn != task_definition_arn:
            yield f"the task {task.id} runs {task.task_definition_arn}"
        for own in task.containers:
            if own.name == container and digest not in (own.digest, own.image.rpartition("@")[2]):
                yield f"the task {task.id} runs the image {own.digest or own.image}"


def _of_targets(tasks: tuple[Task, ...], states: dict[str, str], service: Service) -> Iterator[str]:
    """Yield healthy targets that are none of the tasks, and the lack of any healthy target."""
    if not service.target_group_arns:
        return
    addresses = {task.address for task in tasks}
    healthy = {address for address, state in states.items() if state == "healthy"}
    if healthy - addresses:
        yield f"the load balancer also sends requests to {', '.join(sorted(healthy - addresses))}"
    if not healthy:
        yield "the load balancer has no healthy target"

"""Checks, after ECS reports success, that only the released revision serves.

*Which* revision serves is judged strictly, and at once. *How many* of its targets do is not: a scale-out, the rebalancing of the zones
or the loss of a Spot task leaves tasks that start and targets that are `initial` for a minute or two, at any moment.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mclass_tf.errors import Hint, NotServingError
from mclass_tf.rollout.client import EcsClient, Patience
from mclass_tf.service import Service, Task

AGREED_WITHIN = 10.0  # seconds within which the answers of different ECS calls become consistent
_PAUSE, _LONG_PAUSE = 0.5, 3.0


@dataclass(frozen=True, kw_only=True)
class ExpectedRevision:
    """The task definition, and the digest of its `container`, that alone may serve."""

    task_definition_arn: str
    container: str
    digest: str


def require_sole_revision(
    client: EcsClient,
    expected: ExpectedRevision,
    *,
    settled_within: float = AGREED_WITHIN,
    patience: Patience,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> tuple[Task, ...]:
    """Return the running tasks; raise NotServingError if another revision serves, or too few tasks of this one.

    `settled_within` are the seconds in which a task that ECS starts becomes a healthy target. As many as the service was to run
    at any moment since the beginning are enough: those that a scale-out adds need not be waited for.
    """
    began, needed = clock(), None
    while True:
        service = patience(client.service)
        needed = service.desired if needed is None else min(needed, service.desired)
        tasks = tuple(task for task in patience(client.tasks) if task.last_status == "RUNNING")
        states = dict(patience(lambda: client.target_states(service.target_group_arns)))  # noqa: B023  # called at once
        wrong = [
            *_of_service(service, expected),
            *_of_tasks(tasks, expected),
            *_of_targets(tasks, states, service),
        ]
        missing = [*_of_counts(tasks, states, service, needed=needed)]
        if not wrong and not missing:
            return tasks
        waited = clock() - began
        if waited >= (AGREED_WITHIN if wrong else max(settled_within, AGREED_WITHIN)):
            raise _not_serving([*wrong, *missing])
        wait(_PAUSE if waited < AGREED_WITHIN else _LONG_PAUSE)


def _not_serving(problems: list[str]) -> NotServingError:
    return NotServingError(
        f"ECS calls the deployment successful, but {problems[0]}",
        hint=Hint(("status", "ENV"), " shows what runs; somebody may have changed the service since"),
        cause="; ".join(problems),
    )


def _of_service(service: Service, expected: ExpectedRevision) -> Iterator[str]:
    primary = service.primary
    intended = "nothing" if primary is None else primary.task_definition_arn
    if intended != expected.task_definition_arn:
        yield f"the service is to run {intended}"


def _of_tasks(tasks: tuple[Task, ...], expected: ExpectedRevision) -> Iterator[str]:
    for task in tasks:
        if task.task_definition_arn != expected.task_definition_arn:
            yield f"the task {task.id} runs {task.task_definition_arn}"
        for own in task.containers:
            if own.name == expected.container and expected.digest not in (
                own.digest,
                own.image.rpartition("@")[2],
            ):
                yield f"the task {task.id} runs the image {own.digest or own.image}"


def _of_targets(tasks: tuple[Task, ...], states: dict[str, str], service: Service) -> Iterator[str]:
    """Yield the healthy targets that are none of the tasks."""
    if service.target_group_arns:
        foreign = _healthy(states) - {task.address for task in tasks}
        if foreign:
            yield f"the load balancer also sends requests to {', '.join(sorted(foreign))}"


def _of_counts(
    tasks: tuple[Task, ...], states: dict[str, str], service: Service, *, needed: int
) -> Iterator[str]:
    """Yield what lacks until `needed` tasks serve."""
    primary = service.primary
    if primary is not None and primary.rollout_state not in ("", "COMPLETED"):
        yield f"its deployment is {primary.rollout_state}"
    if len(tasks) < needed:
        yield f"{len(tasks)} of {needed} tasks run"
    if not service.target_group_arns:
        return
    healthy = len(_healthy(states) & {task.address for task in tasks})
    if not healthy:
        yield "the load balancer has no healthy target"
    elif healthy < needed:
        yield f"{healthy} of {needed} targets are healthy"


def _healthy(states: dict[str, str]) -> set[str]:
    return {address for address, state in states.items() if state == "healthy"}

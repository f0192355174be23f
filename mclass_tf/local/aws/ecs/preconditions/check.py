"""Checks all preconditions in the order in which Fargate does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mclass_tf.local.aws.ecs.model import images
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.preconditions import logs, registry, roles, secrets
from mclass_tf.local.aws.policies import NotModelledError


def startup_error(task: Task) -> str | None:
    """Return why the task cannot start, as ECS words it, or None. This reads moto's state: call it under the lock."""
    try:
        return next((reason for reason in _reasons(task) if reason is not None), None)
    except NotModelledError as error:
        return _not_modelled(error)


def pull_error(task: Task, reference: images.ImageReference) -> str | None:
    """Return why the manifest cannot be pulled, or None. Call it under the lock."""
    return _evaluate(registry.manifest_error, task, reference)


def layers_error(task: Task, reference: images.ImageReference) -> str | None:
    """Return why the layers of an existing image cannot be pulled, or None. Call it under the lock."""
    return _evaluate(registry.layers_error, task, reference)


def _reasons(task: Task) -> Iterator[str | None]:
    for role_arn in (task.launch.execution_role_arn, task.launch.task_role_arn):
        yield roles.assume_role_error(task, role_arn) if role_arn else None
    yield registry.token_error(task)
    yield from secrets.secret_errors(task)
    yield from logs.log_errors(task)


def _evaluate(
    precondition: Callable[[Task, images.ImageReference], str | None],
    task: Task,
    reference: images.ImageReference,
) -> str | None:
    try:
        return precondition(task, reference)
    except NotModelledError as error:
        return _not_modelled(error)


def _not_modelled(error: NotModelledError) -> str:
    return f"ResourceInitializationError: the local AWS does not model {error}, of a policy that concerns the task"

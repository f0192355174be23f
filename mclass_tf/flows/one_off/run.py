"""`run`: runs a command once on Fargate, with the image, network, roles and secrets of the service's tasks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mclass_tf import verify
from mclass_tf.aws import error_code, error_message
from mclass_tf.errors import DeploymentInProgressError, Hint, OneOffError, ReleaseMissingError
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.environments import applied_state
from mclass_tf.flows.one_off.definition import definition
from mclass_tf.flows.one_off.follow import FinishedTask, Follower, Line
from mclass_tf.flows.one_off.log import LogStream, stream_of
from mclass_tf.rollout.follow import Interruption
from mclass_tf.service import Task, serving_container
from mclass_tf.session import Session
from mclass_tf.system.process import deferred_interrupts

STARTED_BY = "mclass-tf/run"  # ECS takes letters, digits, - / and _


@dataclass(frozen=True, kw_only=True)
class OneOffCommand:
    """A program and its arguments. `timeout` is in seconds from the start of the task, None for no limit."""

    argv: tuple[str, ...]
    started_by: str = STARTED_BY
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A command that ran in the serving image, `digest`."""

    environment: str
    digest: str
    finished: FinishedTask


def run_command(
    session: Session, argv: Sequence[str], *, show: Line, timeout: float | None = None
) -> RunResult:
    """Run a command in the image that serves, and return when its task has stopped.

    `timeout` is in seconds from the start of the task. Raises ReleaseMissingError (exit 3) if nothing was released.
    """
    deployer = Deployer.of(session, verify.Outputs.parse(applied_state(session).outputs))
    arn = _serving_task_definition(deployer)
    name = session.environment.name
    digest = deployer.image_of(arn).rpartition("@")[2]
    if digest == verify.PLACEHOLDER:
        raise ReleaseMissingError(
            f"{name} runs no image yet: there is nothing to run a command in",
            hint=Hint("release one first: ", ("release", name)),
        )
    session.report(f"running {argv[0]} in {digest} ({arn.rsplit('/', 1)[-1]})")
    finished = run_in(deployer, arn, OneOffCommand(argv=tuple(argv), timeout=timeout), show=show)
    return RunResult(environment=name, digest=digest, finished=finished)


def _serving_task_definition(deployer: Deployer) -> str:
    """Return the task definition that serves; during a rollout, that of the old version, which is proven.

    Raises DeploymentInProgressError if neither ECS's record of the rollout nor the service says what the old version is.
    """
    current = deployer.ongoing()
    service = deployer.service()
    if current is None:
        return service.task_definition_arn
    others = [own.task_definition_arn for own in service.deployments if own.status != "PRIMARY"]
    known = (*deployer.sources_of(current), *others)
    if not known and service.desired:
        name = deployer.session.environment.name
        raise DeploymentInProgressError(
            f"a rollout is under way in {name}, and ECS does not say which version it replaces; nothing was run",
            hint=Hint("run it when the rollout is over: ", ("status", name)),
        )
    return known[0] if known else service.task_definition_arn


def run_in(
    deployer: Deployer, task_definition_arn: str, command: OneOffCommand, *, show: Line
) -> FinishedTask:
    """Run a command in a one-off task definition, which is deregistered at the end in any case.

    RunTask's overrides cannot replace the image's ENTRYPOINT; only a task definition can.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerOverride.html
    An interrupt stops the task. Raises RolloutError if AWS no longer answers.
    """
    with deferred_interrupts() as interruption:
        described = deployer.patience(lambda: deployer.ecs.task_definition(task_definition_arn))
        deployer = _of_container(deployer, described)
        document = definition(described, container=deployer.outputs.container_name, argv=command.argv)
        try:
            revision = deployer.patience(lambda: deployer.ecs.register(document))
        except Exception as error:
            if (refused := _refused(deployer, error)) is None:
                raise
            return refused
        try:
            return _run(deployer, revision, command, document, interruption=interruption, show=show)
        finally:
            deregister(deployer, revision)


def _run(
    deployer: Deployer,
    revision: str,
    command: OneOffCommand,
    document: Mapping[str, Any],
    *,
    interruption: Interruption,
    show: Line,
) -> FinishedTask:
    try:
        task = _start_task(deployer, revision, started_by=command.started_by)
    except Exception as error:
        if (refused := _refused(deployer, error)) is None:
            raise
        return refused
    log = _log_of(deployer, document, task)
    return Follower(deployer=deployer, task=task, log=log, show=show, timeout=command.timeout).follow(
        interruption
    )


def _start_task(deployer: Deployer, revision: str, *, started_by: str) -> Task:
    placement = deployer.patience(deployer.ecs.placement)
    # A retry with the same token starts no second task.
    # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
    request = {
        "taskDefinition": revision,
        "startedBy": started_by,
        "clientToken": secrets.token_hex(16),
        **placement,
    }
    task, reason = deployer.patience(lambda: deployer.ecs.run_task(request))
    if task is None:
        raise _not_started(deployer, reason)
    return task


def _refused(deployer: Deployer, error: Exception) -> FinishedTask | None:
    """Return the result of a task that ECS refuses to start; None for any other error."""
    if isinstance(error, OneOffError):
        return FinishedTask(error=error)
    if error_code(error):
        return FinishedTask(error=_not_started(deployer, error_message(error)))
    return None


def _not_started(deployer: Deployer, reason: str) -> OneOffError:
    return OneOffError(
        f"ECS does not start the task in {deployer.session.environment.name}: {reason}",
        hint="the reason is ECS's own: it names what is missing, not permitted, or not to be had now",
        cause=reason,
    )


def _of_container(deployer: Deployer, task_definition: Mapping[str, Any]) -> Deployer:
    """Return the deployer with the container's name in this task definition: the outputs may have a newer one."""
    own = serving_container(task_definition, deployer.outputs.container_name)
    if own is None or own["name"] == deployer.outputs.container_name:
        return deployer
    return replace(deployer, outputs=replace(deployer.outputs, container_name=str(own["name"])))


def _log_of(deployer: Deployer, document: Mapping[str, Any], task: Task) -> LogStream | None:
    session, container = deployer.session, deployer.outputs.container_name
    own = next(each for each in document["containerDefinitions"] if each["name"] == container)
    stream = stream_of(own, task_id=task.id, region=session.environment.region)
    if stream is None:
        session.report(f"what {container} writes does not go to CloudWatch Logs here: it is not shown")
    return stream


def deregister(deployer: Deployer, revision: str) -> None:
    """Deregister the one-off task definition. A failure is reported, and hides no other error."""
    try:
        deployer.patience(lambda: deployer.ecs.deregister(revision))
    except Exception as error:  # noqa: BLE001  (how the task ended matters more)
        name = revision.rsplit("/", 1)[-1]
        deployer.session.report(f"the task definition {name} is left behind: {error_message(error)}")

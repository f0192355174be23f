"""The commands that a release runs in the new version before its rollout, such as a migration."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from mclass_tf.errors import BeforeFailedError, InterruptedByUserError, MclassError, RolloutError
from mclass_tf.flows.attempt import Attempt
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.one_off.definition import family
from mclass_tf.flows.one_off.follow import FinishedTask, Follower
from mclass_tf.flows.one_off.run import OneOffCommand, deregister, run_in
from mclass_tf.ledger import OneOffResult
from mclass_tf.system.process import deferred_interrupts

STARTED_BY = "mclass-tf/before"
_SUCCEEDED = 0


def remaining_commands(commands: Sequence[str], done: Sequence[OneOffResult]) -> tuple[str, ...]:
    """Return the commands that `done` does not record as succeeded. Each must succeed once only, in order."""
    succeeded = [each.command for each in done if each.exit_code == _SUCCEEDED]
    number = 0
    while number < min(len(commands), len(succeeded)) and commands[number] == succeeded[number]:
        number += 1
    return tuple(commands[number:])


def run_before_commands(deployer: Deployer, attempt: Attempt) -> None:
    """Run the environment's commands in order, in the task definition of the attempt.

    Skip those that succeeded according to `attempt.before`. Raises BeforeFailedError (exit 6) at the first failure.
    """
    commands = remaining_commands(deployer.session.environment.release.before, attempt.before)
    if commands:
        _wait_for_others(deployer)
    for command in commands:
        _run(deployer, attempt, command)


def _wait_for_others(deployer: Deployer) -> None:
    """Wait for the command of a cut-off attempt that still runs: two migrations at once do harm."""
    for task in deployer.patience(
        lambda: deployer.ecs.tasks_of_family(family(deployer.outputs.task_definition_family))
    ):
        if task.started_by != STARTED_BY:
            continue
        deployer.session.report(f"a command of an earlier attempt still runs: waiting for the task {task.id}")
        with deferred_interrupts() as interruption:
            finished = Follower(deployer=deployer, task=task, log=None, show=lambda _: None).follow(
                interruption
            )
        deregister(deployer, task.task_definition_arn)
        if isinstance(finished.error, InterruptedByUserError):
            raise finished.error


def _run(deployer: Deployer, attempt: Attempt, command: str) -> None:
    session = deployer.session
    session.report(f"before the rollout: {command}")
    try:
        finished = run_in(
            deployer,
            attempt.task_definition_arn,
            OneOffCommand(argv=tuple(shlex.split(command)), started_by=STARTED_BY),
            show=lambda line: session.report(f"  {line}"),
        )
    except MclassError:
        attempt.note_before(OneOffResult(command=command, task_arn="", exit_code=None))
        raise
    attempt.note_before(
        OneOffResult(command=command, task_arn=finished.task_arn, exit_code=finished.exit_code)
    )
    _require_success(deployer, command, finished)


def _require_success(deployer: Deployer, command: str, finished: FinishedTask) -> None:
    error = finished.error
    if error is not None and not isinstance(error, RolloutError):
        raise error  # an interrupt
    if error is None and finished.exit_code == _SUCCEEDED:
        return
    problem = f"exited with {finished.exit_code}" if error is None else error.cause
    where = f"its log: {finished.log.command}" if finished.log is not None else ""
    cause = f"`{command}`, which runs before the rollout: {problem}"
    raise BeforeFailedError(
        f"nothing was shifted in {deployer.session.environment.name}: {cause}",
        hint="; ".join(filter(None, ["the old version keeps serving", where])),
        cause=cause,
    )

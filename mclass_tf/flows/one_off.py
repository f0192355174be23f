"""The verb that runs a command once, on Fargate, as the service's own tasks run: same image, network, roles and secrets."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mclass_tf import rollout, verify
from mclass_tf.aws import error_code, error_message
from mclass_tf.errors import (
    InterruptedByUserError,
    MclassError,
    OneOffError,
    ReleaseMissingError,
    RolloutError,
)
from mclass_tf.flows.deploy import Deployer
from mclass_tf.flows.environments import applied_state
from mclass_tf.flows.task_log import Stream, TaskLog, stream_of
from mclass_tf.process import deferred_interrupts
from mclass_tf.rollout.follow import Interruption
from mclass_tf.service import Container, Task, registrable
from mclass_tf.session import Session

Line = Callable[[str], None]
"""Takes a line that the command wrote."""

STARTED_BY = "mclass-tf/run"  # ECS takes letters, digits, - / and _
_SUFFIX = "-run"
_LONGEST_FAMILY = 255 - len(_SUFFIX)
_LOOK = 0.5  # seconds between two looks at the task
_LOG_SETTLES = 2.0  # seconds in which the last lines of a task that has stopped come to CloudWatch Logs
_KNOWN_WITHIN = (
    60.0  # seconds in which ECS tells of a task that it has started: its answers are consistent eventually
)

# With these ECS says of a stopped task that it ended by itself.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
_BY_ITSELF = ("", "EssentialContainerExited")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What came of a command. `exit_code` is None where it did not come to an end of its own; `error` then says why.

    `task_arn` is "" where no task was started, `log` None where nothing is written to CloudWatch Logs. Both reasons are ECS's:
    why the task stopped, and what the container died of beyond its exit code.
    """

    task_arn: str = ""
    exit_code: int | None = None
    stopped_reason: str = ""
    container_reason: str = ""
    log: Stream | None = None
    error: MclassError | None = None


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that was run in what serves; `digest` is the image's."""

    environment: str
    digest: str
    finished: Finished


def run_command(session: Session, argv: Sequence[str], *, show: Line, timeout: float | None = None) -> Ran:
    """Run a command in the image that serves, and return when its task has stopped.

    `timeout` is in seconds, from the start of the task. Raises ReleaseMissingError (exit 3) where nothing was released.
    """
    deployer = Deployer.of(session, verify.Outputs.parse(applied_state(session).outputs))
    arn = _serving(deployer)
    digest = deployer.image_of(arn).rpartition("@")[2]
    if digest == verify.PLACEHOLDER:
        name = session.environment.name
        raise ReleaseMissingError(
            f"{name} runs no image yet: there is nothing to run a command in",
            hint=f"release one first: `release {name}`",
        )
    session.report(f"running {argv[0]} in {digest} ({arn.rsplit('/', 1)[-1]})")
    finished = run_in(deployer, arn, argv, show=show, timeout=timeout)
    return Ran(environment=session.environment.name, digest=digest, finished=finished)


def _serving(deployer: Deployer) -> str:
    """Return the task definition that serves: in mid-rollout the one from before, which is proven."""
    current = deployer.ongoing()
    sources = deployer.sources_of(current) if current is not None else ()
    return sources[0] if sources else deployer.service().task_definition_arn


def run_in(
    deployer: Deployer,
    task_definition_arn: str,
    argv: Sequence[str],
    *,
    show: Line,
    timeout: float | None = None,
) -> Finished:
    """Run a command in a one-off revision of a task definition; the revision is deregistered in the end, whatever happens.

    RunTask's overrides leave the image's ENTRYPOINT in place: only a task definition replaces it.
    An interrupt stops the task. Raises RolloutError where AWS does not answer any more.
    """
    with deferred_interrupts() as interruption:
        described = deployer.patience(lambda: deployer.ecs.task_definition(task_definition_arn))
        container = deployer.outputs.container_name
        document = definition(described, container=container, argv=argv)
        try:
            revision = deployer.patience(lambda: deployer.ecs.register(document))
        except Exception as error:
            if (refused := _refused(deployer, error)) is None:
                raise
            return refused
        try:
            return _run(deployer, revision, document, interruption=interruption, show=show, timeout=timeout)
        finally:
            _deregister(deployer, revision)


def definition(described: Mapping[str, Any], *, container: str, argv: Sequence[str]) -> dict[str, Any]:
    """Return what registers a task definition like another one, in which `container` runs `argv` and ends the task.

    Containers that the service could do without go, unless `container` needs them.
    """
    document = registrable(described)
    containers = {own["name"]: own for own in described["containerDefinitions"]}
    kept = _needed(containers, container)
    document["family"] = f"{described['family'][:_LONGEST_FAMILY]}{_SUFFIX}"
    document["containerDefinitions"] = [
        _once(own, argv) if name == container else _beside(own, container)
        for name, own in containers.items()
        if name in kept
    ]
    return document


def _needed(containers: Mapping[str, Mapping[str, Any]], container: str) -> set[str]:
    """Return the names of the essential containers, and of those that they need, and so on."""
    kept: set[str] = set()
    left = [container, *(name for name, own in containers.items() if own.get("essential", True))]
    while left:
        name = left.pop()
        if name not in kept:
            kept.add(name)
            left += _needs(containers, containers[name])
    return kept


def _needs(containers: Mapping[str, Mapping[str, Any]], own: Mapping[str, Any]) -> Iterator[str]:
    yield from (each["containerName"] for each in own.get("dependsOn") or ())
    yield from (each["sourceContainer"] for each in own.get("volumesFrom") or ())
    if (own.get("logConfiguration") or {}).get("logDriver") == "awsfirelens":
        yield from (name for name, other in containers.items() if other.get("firelensConfiguration"))


def _once(own: Mapping[str, Any], argv: Sequence[str]) -> dict[str, Any]:
    """Return the container with another command: no port, since it serves nobody; no health check, and no restart."""
    dropped = ("portMappings", "healthCheck", "restartPolicy", "command")
    kept = {key: value for key, value in own.items() if key not in dropped}
    command = {"command": list(argv[1:])} if argv[1:] else {}
    return {**kept, "essential": True, "entryPoint": [argv[0]], **command}


def _beside(own: Mapping[str, Any], container: str) -> dict[str, Any]:
    """Return another container of the task; whose health it waited for has no health check now."""
    waited = [
        {**each, "condition": "START"}
        if (each["containerName"], each["condition"]) == (container, "HEALTHY")
        else each
        for each in own.get("dependsOn") or ()
    ]
    return {**own, "dependsOn": waited} if waited else dict(own)


def _run(
    deployer: Deployer,
    revision: str,
    document: Mapping[str, Any],
    *,
    interruption: Interruption,
    show: Line,
    timeout: float | None,
) -> Finished:
    """Start the task and follow it to its end."""
    try:
        task = _started(deployer, revision)
    except Exception as error:
        if (refused := _refused(deployer, error)) is None:
            raise
        return refused
    log = _log_of(deployer, document, task)
    follower = Follower(deployer=deployer, task=task, log=log, show=show, timeout=timeout)
    return follower.follow(interruption)


def _started(deployer: Deployer, revision: str) -> Task:
    placement = deployer.patience(deployer.ecs.placement)
    # Asked again with the same token, ECS starts no second task.
    # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
    request = {
        "taskDefinition": revision,
        "startedBy": STARTED_BY,
        "clientToken": secrets.token_hex(16),
        **placement,
    }
    task, reason = deployer.patience(lambda: deployer.ecs.run_task(request))
    if task is None:
        raise _not_started(deployer, reason)
    return task


def _refused(deployer: Deployer, error: Exception) -> Finished | None:
    """Return what came of a task that ECS does not take; None where the error is another one."""
    if isinstance(error, OneOffError):
        return Finished(error=error)
    if error_code(error):
        return Finished(error=_not_started(deployer, error_message(error)))
    return None


def _not_started(deployer: Deployer, reason: str) -> OneOffError:
    return OneOffError(
        f"ECS does not start the task in {deployer.session.environment.name}: {reason}",
        hint="the reason is ECS's own: it names what is missing, not permitted, or not to be had now",
        cause=reason,
    )


def _log_of(deployer: Deployer, document: Mapping[str, Any], task: Task) -> Stream | None:
    session, container = deployer.session, deployer.outputs.container_name
    own = next(each for each in document["containerDefinitions"] if each["name"] == container)
    found = stream_of(own, task_id=task.id, region=session.environment.region)
    if found is None:
        session.report(f"what {container} writes does not go to CloudWatch Logs here: it is not shown")
    return found


def _deregister(deployer: Deployer, revision: str) -> None:
    """Leave nothing behind that could be started; what cannot be cleaned up is told, and hides nothing."""
    try:
        deployer.patience(lambda: deployer.ecs.deregister(revision))
    except Exception as error:  # noqa: BLE001
        name = revision.rsplit("/", 1)[-1]
        deployer.session.report(f"the task definition {name} is left behind: {error_message(error)}")


@dataclass(kw_only=True)
class Follower:
    """Follows one task to its end, shows what it writes, and stops it when it is told to. Times are in seconds."""

    deployer: Deployer
    task: Task
    log: Stream | None
    show: Line
    timeout: float | None = None
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], object] = time.sleep
    _reader: TaskLog | None = field(default=None, init=False)
    _is_interrupted: bool = field(default=False, init=False)
    _is_late: bool = field(default=False, init=False)

    def follow(self, interruption: Interruption) -> Finished:
        """Return what came of it. Raises RolloutError where AWS does not answer any more; the task may go on then."""
        session = self.deployer.session
        if self.log is not None:
            self._reader = TaskLog(
                session.aws.logs, self.log, patience=self.deployer.patience, tell=session.report
            )
        try:
            self._to_its_end(interruption)
        except RolloutError as error:
            raise OneOffError(
                f"{error.message}; the task {self.task.id} may go on",
                hint=f"`aws ecs describe-tasks --cluster {self.deployer.outputs.cluster_name} --tasks {self.task.arn}` "
                "shows what came of it",
                cause=error.cause,
            ) from None
        return self._finished()

    def _to_its_end(self, interruption: Interruption) -> None:
        began, told = self.clock(), ""
        while True:
            self._look(began)
            if self.task.last_status != told:
                told = self.task.last_status
                self.deployer.session.report(f"task {self.task.id}: {told.lower()}")
            self._show_log()
            if told == "STOPPED":
                self._show_rest()
                return
            if self._is_interrupted or self._is_late:
                self.wait(_LOOK)
            elif interruption.wait(_LOOK):
                self._is_interrupted = True
                self._stop("interrupted")
            elif self.timeout is not None and self.clock() - began >= self.timeout:
                self._is_late = True
                self._stop(f"not over after {self.timeout:g} s")

    def _look(self, began: float) -> None:
        found = self.deployer.patience(lambda: self.deployer.ecs.task(self.task.arn))
        if found is not None:
            self.task = found
        elif self.clock() - began >= _KNOWN_WITHIN:
            raise RolloutError("ECS does not know the task", cause="ECS does not know the task")

    def _stop(self, why: str) -> None:
        self.deployer.session.report(f"{why}: stopping the task")
        self.deployer.patience(
            lambda: self.deployer.ecs.stop_task(self.task.arn, reason=f"{STARTED_BY}: {why}")
        )

    def _show_log(self) -> int:
        """Show what is new; return how many lines that were."""
        number = 0
        for line in self._reader.read() if self._reader is not None else ():
            number += 1
            self.show(line)
        return number

    def _show_rest(self) -> None:
        """Show the last lines, which come a moment after the container's end."""
        if self._reader is None or self._exit_code is None:
            return
        quiet_since = self.clock()
        while self.clock() - quiet_since < _LOG_SETTLES:
            self.wait(_LOOK)
            if self._show_log():
                quiet_since = self.clock()

    @property
    def _container(self) -> Container | None:
        name = self.deployer.outputs.container_name
        return next((own for own in self.task.containers if own.name == name), None)

    @property
    def _exit_code(self) -> int | None:
        return self._container.exit_code if self._container is not None else None

    def _finished(self) -> Finished:
        error = self._error()
        return Finished(
            task_arn=self.task.arn,
            exit_code=self._exit_code if error is None else None,
            stopped_reason=self.task.stopped_reason,
            container_reason=self._container.reason if self._container is not None else "",
            log=self.log,
            error=error,
        )

    def _error(self) -> MclassError | None:
        """Return why the command did not come to an end of its own; None where it did."""
        name = self.deployer.session.environment.name
        logs = self.log.command if self.log is not None else "wherever its log driver writes"
        if self._is_interrupted:
            return InterruptedByUserError(
                f"interrupted; the task {self.task.id} was stopped", hint=f"what it wrote: {logs}"
            )
        if self._exit_code is not None and self.task.stop_code in _BY_ITSELF:
            return None
        if self._is_late:
            late = f"it was not over after {self.timeout:g} s"
            return OneOffError(
                f"the task {self.task.id} in {name} was stopped: {late}",
                hint=f"give it more time: --timeout; what it wrote: {logs}",
                cause=late,
            )
        cause = rollout.explain_task(self.task, environment=name, logs=logs)
        what = "did not start" if self._exit_code is None else "was stopped before its command ended"
        return OneOffError(
            f"the task {self.task.id} in {name} {what}: {cause.sentence}",
            hint=cause.hint,
            cause=cause.sentence,
        )

"""Follows one task to its end: shows its log, and stops it at an interrupt or timeout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mclass_tf import rollout
from mclass_tf.aws import error_code, error_message
from mclass_tf.errors import InterruptedByUserError, MclassError, OneOffError, RolloutError
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.one_off.log import LogStream, TaskLog
from mclass_tf.rollout.follow import Interruption
from mclass_tf.service import Container, Task

Line = Callable[[str], None]
"""Shows a line of a task's log."""

_LOOK, _LOCAL_LOOK = 3.0, 0.5  # seconds between two looks at the task
_LOG_SETTLES = 2.0  # seconds within which the last lines of a stopped task reach CloudWatch Logs
_KNOWN_WITHIN = 60.0  # seconds within which DescribeTasks finds a started task

# The stop codes of a task that ended without being stopped.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
_BY_ITSELF = ("", "EssentialContainerExited")


@dataclass(frozen=True, kw_only=True)
class FinishedTask:
    """The result of a command. `exit_code` is None if the command did not end on its own; `error` then explains why.

    `task_arn` is "" if no task started, `log` None if the container does not write to CloudWatch Logs. ECS gives both reasons:
    of the task's stop, and of the container's end beyond its exit code.
    """

    task_arn: str = ""
    exit_code: int | None = None
    stopped_reason: str = ""
    container_reason: str = ""
    log: LogStream | None = None
    error: MclassError | None = None


@dataclass(kw_only=True)
class Follower:
    """Follows one task to its end, shows its log, and stops it on demand. Times are in seconds."""

    deployer: Deployer
    task: Task
    log: LogStream | None
    show: Line
    timeout: float | None = None
    _reader: TaskLog | None = field(default=None, init=False)
    _is_interrupted: bool = field(default=False, init=False)
    _is_late: bool = field(default=False, init=False)

    def follow(self, interruption: Interruption) -> FinishedTask:
        """Return the result. Raises OneOffError if AWS no longer answers; the task may still run."""
        session = self.deployer.session
        if self.log is not None:
            self._reader = TaskLog(
                session.aws.logs, self.log, patience=self.deployer.patience, report=session.report
            )
        try:
            self._to_its_end(interruption)
        except RolloutError as error:
            raise OneOffError(
                f"{error.message}; the task {self.task.id} may still run",
                hint=f"`aws ecs describe-tasks --cluster {self.deployer.outputs.cluster_name} --tasks {self.task.arn}` "
                "shows its state",
                cause=error.cause,
            ) from None
        return self._finished()

    def _to_its_end(self, interruption: Interruption) -> None:
        began, reported = self._clock(), ""
        while True:
            self._look(began)
            self._show_log()
            is_over = self.task.last_status == "STOPPED"
            if is_over:
                self._show_rest()
            if self.task.last_status != reported:
                reported = self.task.last_status
                self.deployer.session.report(f"task {self.task.id}: {reported.lower()}")
            if is_over:
                return
            if self._is_interrupted or self._is_late:
                self._wait(self._look_pause)
            elif interruption.wait(self._look_pause):
                self._is_interrupted = True
                self._stop("interrupted")
            elif self.timeout is not None and self._clock() - began >= self.timeout:
                self._is_late = True
                self._stop(f"not over after {self.timeout:g} s")

    @property
    def _look_pause(self) -> float:
        return _LOCAL_LOOK if self.deployer.session.cloud.is_local else _LOOK

    def _clock(self) -> float:
        return self.deployer.patience.clock()

    def _wait(self, seconds: float) -> None:
        self.deployer.patience.wait(seconds)

    def _look(self, began: float) -> None:
        task = self.deployer.patience(lambda: self.deployer.ecs.task(self.task.arn))
        if task is not None:
            self.task = task
        elif self._clock() - began >= _KNOWN_WITHIN:
            raise RolloutError("ECS does not know the task", cause="ECS does not know the task")

    def _stop(self, why: str) -> None:
        """Stop the task. If ECS refuses, report that and keep watching; a second interrupt ends the command."""
        report, ecs = self.deployer.session.report, self.deployer.ecs
        report(f"{why}: stopping the task")
        try:
            self.deployer.patience(lambda: ecs.stop_task(self.task.arn, reason=f"mclass-tf: {why}"))
        except Exception as error:
            if not error_code(error):
                raise
            report(f"ECS does not stop it: {error_message(error)}")

    def _show_log(self) -> int:
        number = 0
        for line in self._reader.read() if self._reader is not None else ():
            number += 1
            self.show(line)
        return number

    def _show_rest(self) -> None:
        """Show the last lines, which arrive some time after the container's end."""
        if self._reader is None or self._exit_code is None:
            return
        quiet_since = self._clock()
        while self._clock() - quiet_since < _LOG_SETTLES:
            self._wait(_LOOK)
            if self._show_log():
                quiet_since = self._clock()

    @property
    def _container(self) -> Container | None:
        name = self.deployer.outputs.container_name
        return next((own for own in self.task.containers if own.name == name), None)

    @property
    def _exit_code(self) -> int | None:
        return self._container.exit_code if self._container is not None else None

    def _finished(self) -> FinishedTask:
        error = self._error()
        return FinishedTask(
            task_arn=self.task.arn,
            exit_code=self._exit_code if error is None else None,
            stopped_reason=self.task.stopped_reason,
            container_reason=self._container.reason if self._container is not None else "",
            log=self.log,
            error=error,
        )

    def _error(self) -> MclassError | None:
        """Return why the command did not end on its own; None if it did."""
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

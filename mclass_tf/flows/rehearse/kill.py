"""Releases a version by a separate command, kills it at a step, and resumes the release as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mclass_tf.errors import MclassError, UsageError
from mclass_tf.flows.environments import make_plan, unlock
from mclass_tf.flows.history import history
from mclass_tf.flows.inspect import status
from mclass_tf.flows.rehearse.project import project_of
from mclass_tf.rehearsal.names import STEPS
from mclass_tf.rehearsal.result import KilledCommand, ObservedDeployment
from mclass_tf.session import HOME_VARIABLE, Session
from mclass_tf.system import python

Wait = Callable[[float, Callable[[], bool]], None]
"""Continues the load for the given seconds, or until a condition holds."""

# The steps before and after ECS's deployment, as the command reports them.
_REPORTED = ("planning", "applying", "verifying")
_IN_ROLLING = (*_REPORTED, "scale-up")
# In ECS's order: a stage may begin and end between two looks.
_STAGES = (
    "SCALE_UP",
    "POST_SCALE_UP",
    "TEST_TRAFFIC_SHIFT",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
    "BAKE_TIME",
    "CLEAN_UP",
    "SUCCESSFUL",
)
_PAUSED_AT = "POST_TEST_TRAFFIC_SHIFT"
_ARRIVES_WITHIN = 1800.0
_ENDS_WITHIN = 1800.0
_ORPHAN_SECONDS = 120.0
_LOOK = 0.1
_SHOWN_LINES = 20
# Outcomes after which the new version serves.
_SERVES = ("released", "unchanged")


class NotKilledError(MclassError):
    """The command ended before it could be killed, or the resuming command printed no result."""


def require_step(step: str | None, *, fault: str | None, shifts: bool) -> None:
    """Reject an unknown or inapplicable `--at` step."""
    if step is not None and fault != "killed":
        raise UsageError(
            "--at is for --fault killed alone", hint="leave one of them out, or add --fault killed"
        )
    if step is not None and step not in STEPS:
        raise UsageError(f"--at {step} is not known", hint=f"there are {', '.join(STEPS)}")
    if step is not None and not shifts and step not in _IN_ROLLING:
        raise UsageError(
            f"a rolling release has no step {step}",
            hint=f"--strategy blue-green, canary or linear; or one of {', '.join(_IN_ROLLING)}",
        )


@dataclass(frozen=True, kw_only=True)
class KillPlan:
    """The command to kill, and its step. `words` are its arguments; `deployments` returns those seen by the recorder so far.

    `is_waiting` returns whether a deployment waits for an answer, `is_at_rest` whether none is under way.
    """

    session: Session
    words: Sequence[str]
    digest: str
    step: str
    deployments: Callable[[], Sequence[ObservedDeployment]]
    is_waiting: Callable[[], bool]
    is_at_rest: Callable[[], bool]
    wait: Wait
    note: Callable[[str], None]


def kill_and_resume(plan: KillPlan) -> KilledCommand:
    """Start the command, kill it, wait for ECS, resume the release, and compare the reported result with the facts."""
    project = project_of(plan.session)
    _begin_and_kill(plan, project)
    at = time.time()
    plan.note(f"kill -9 of `{plan.words[0]}` at {plan.step}")
    plan.wait(_ENDS_WITHIN, lambda: plan.is_waiting() or plan.is_at_rest())
    _release_state_lock(plan)
    resumed_at = time.time()
    name = plan.session.environment.name
    plan.note(f"release {name} --resume")
    done = _run(plan, project, "release", name, "--resume", "--local", "--yes", "--json")
    return _result(plan, done, at=at, resumed_at=resumed_at)


def _begin_and_kill(plan: KillPlan, project: Path) -> None:
    with _running(plan, project, *plan.words, "--local", "--yes") as command:
        arrived = command.reported(plan.step) if plan.step in _REPORTED else _Arrival(plan, command)
        if not arrived.wait(_ARRIVES_WITHIN) or command.process.poll() is not None:
            output = " | ".join(command.lines[-_SHOWN_LINES:])
            raise NotKilledError(
                f"`{' '.join(plan.words)}` did not reach {plan.step}, or ended before it could be killed: {output}",
                hint="rehearse another step, or use a less busy machine",
            )


@dataclass(frozen=True, kw_only=True)
class _CommandResult:
    status: int
    document: Mapping[str, Any]
    ended_at: float


class _Command:
    """A command of this package in its own process; a thread reads its progress."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._events = {word: threading.Event() for word in _REPORTED}
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.lines.append(line.rstrip())
            if (event := self._events.get(line.strip())) is not None:
                event.set()
        for event in self._events.values():
            event.set()  # the command has ended: nobody may wait for ever

    def reported(self, word: str) -> threading.Event:
        return self._events[word]

    def close(self) -> None:
        """Kill the process if it still runs, even if stopped by SIGSTOP."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class _Arrival:
    """Waits until the new service deployment reaches a stage."""

    def __init__(self, plan: KillPlan, command: _Command) -> None:
        self._plan = plan
        self._command = command
        self._known = {each.arn for each in plan.deployments()}
        self._stage = plan.step.upper().replace("-", "_")

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        is_stopped = False
        while not self._has_reached(self._stage):
            if time.monotonic() > deadline or self._command.process.poll() is not None:
                return False
            if self._stage == _PAUSED_AT and not is_stopped and self._has_reached(_STAGES[0]):
                # The command would answer the pause at once: stop it here, so that it is killed at the pause.
                self._command.process.send_signal(signal.SIGSTOP)
                is_stopped = True
            time.sleep(_LOOK)
        return True

    def _has_reached(self, stage: str) -> bool:
        new = [each for each in self._plan.deployments() if each.arn not in self._known]
        if not new or not new[-1].stages:
            return False
        name = new[-1].stages[-1].name
        return name in _STAGES and _STAGES.index(name) >= _STAGES.index(stage)


@contextmanager
def _running(plan: KillPlan, project: Path, *words: str) -> Iterator[_Command]:
    session = plan.session
    with subprocess.Popen(
        (*python.command("mclass_tf"), "--project", str(project), *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if "--json" not in words else subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=python.environment({**os.environ, HOME_VARIABLE: str(session.project.home)}),
        text=True,
        # Ctrl-C must reach the rehearsal only.
        start_new_session=True,
    ) as process:
        command = _Command(process)
        try:
            yield command
        finally:
            command.close()


def _run(plan: KillPlan, project: Path, *words: str) -> _CommandResult:
    with _running(plan, project, *words) as command:
        plan.wait(_ENDS_WITHIN, lambda: command.process.poll() is not None)
        if command.process.poll() is None:
            raise NotKilledError(f"`{' '.join(words)}` does not end", hint="look at what ECS does: `status`")
        stdout = command.process.stdout.read() if command.process.stdout else ""
        try:
            document = json.loads(stdout)
        except ValueError:
            output = " | ".join(command.lines[-_SHOWN_LINES:])
            raise NotKilledError(
                f"`{' '.join(words)}` says nothing: {output}", hint="this is a bug"
            ) from None
        return _CommandResult(status=command.process.returncode, document=document, ended_at=time.time())


def _release_state_lock(plan: KillPlan) -> None:
    """Wait for Terraform, which outlives its caller, and unlock the state as the error would tell the user to."""
    session = plan.session
    plan.wait(_ORPHAN_SECONDS, lambda: not _is_terraform_running(session))
    if (lock := session.lock()) is not None:
        plan.note(f"the state is locked: unlock {session.environment.name} {lock}")
        unlock(session, lock_id=lock)


def _is_terraform_running(session: Session) -> bool:
    run = session.workspace.run_folder.left()
    return run is not None and run.is_running


def _result(plan: KillPlan, done: _CommandResult, *, at: float, resumed_at: float) -> KilledCommand:
    """Return the result, and whether the reported result is true."""
    session = plan.session
    plan.wait(_ENDS_WITHIN, plan.is_at_rest)
    outcome = str(done.document.get("outcome", ""))
    serving = status(session).digest
    return KilledCommand(
        step=plan.step,
        killed_at=at,
        resumed_at=resumed_at,
        ended_at=done.ended_at,
        exit_code=done.status,
        outcome=outcome,
        cause=str(done.document.get("cause") or done.document.get("error", {}).get("message") or ""),
        serves_what_it_says=(serving == plan.digest) is (outcome in _SERVES),
        record_is_true=_is_recorded(session, outcome=outcome, digest=plan.digest),
        is_plan_empty=not make_plan(session).plan.has_changes,
    )


def _is_recorded(session: Session, *, outcome: str, digest: str) -> bool:
    """Return whether the ledger records the cut-off attempt, and the outcome of the one that resumed it."""
    past = history(session, limit=2)
    if len(past) < 2:  # noqa: PLR2004
        return False
    latest, before = past
    return (
        (latest.outcome, latest.digest, before.digest) == (outcome, digest, digest)
        and before.outcome == "cut off"
        and latest.resumes == before.record
    )

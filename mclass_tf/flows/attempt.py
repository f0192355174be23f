"""An attempt to change what the service runs, written into the ledger before it begins and when it is over."""

from __future__ import annotations

import datetime as dt
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from mclass_tf import gates, image
from mclass_tf.errors import (
    CorruptedImageError,
    InterruptedByUserError,
    LeaseLostError,
    MclassError,
    NoImageError,
    RefusedError,
    RevisionError,
    RolloutError,
    ServiceEvent,
)
from mclass_tf.lease import HeldLease, Holder, Lease
from mclass_tf.ledger import (
    APPLYING,
    BEFORE,
    CUT_OFF,
    REFUSED,
    ROLLING_OUT,
    AnalysisResult,
    AttemptEnd,
    AttemptStart,
    Event,
    GateVerdict,
    Ledger,
    OneOffResult,
    Origin,
    Record,
    SmokeResult,
    Stage,
    Step,
    Traffic,
)
from mclass_tf.service import ServiceDeployment
from mclass_tf.session import Session
from mclass_tf.system import process

_LOOKED_BACK = 10  # attempts; a rollout that is under way is among the last
_WRITTEN_WITHIN = 10.0  # seconds in which the last steps are written before the end is


def _unwritten(_: Step) -> None:
    pass


@dataclass(kw_only=True)
class Attempt:
    """What becomes known of an attempt on its way; `record` is where the ledger has it."""

    record: str
    digest: str
    revision: str
    started_at: dt.datetime
    task_definition_arn: str = ""
    service_deployment_arn: str = ""
    outcome: str = ""
    cause: str = ""
    events: tuple[ServiceEvent, ...] = ()
    is_verified: bool = False
    smoke: tuple[SmokeResult, ...] = ()
    before: tuple[OneOffResult, ...] = ()
    stages: tuple[Stage, ...] = ()
    analysis: AnalysisResult | None = None
    traffic: Traffic | None = None
    steps: tuple[Step, ...] = ()
    write: Callable[[Step], None] = _unwritten
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)

    def reach(self, what: str, **details: Any) -> None:
        """Note that it comes to a step, which the ledger is told at once; `details` are of JSON's types."""
        step = Step(what=what, at=_text(self.now()), details=details)
        self.steps = (*self.steps, step)
        self.write(step)

    def note_before(self, ran: OneOffResult) -> None:
        """Note a command that has run in the new version before the rollout."""
        self.before = (*self.before, ran)
        self.reach(BEFORE, **asdict(ran))

    def note_stage(self, deployment: ServiceDeployment) -> None:
        """Note the stage that the rollout is at, where it is another one than before."""
        name = deployment.stage or deployment.status
        last = self.stages[-1] if self.stages else None
        if last is None or (last.name, last.production) != (name, deployment.production):
            at = _text(self.now())
            self.stages = (*self.stages, Stage(name=name, at=at, production=deployment.production))
            self.reach(name, production=deployment.production)

    def failed(self, error: BaseException) -> None:
        """Note how it ended, and tell the error what it was about."""
        if isinstance(error, RolloutError):
            self.outcome, self.cause = error.outcome, error.cause
            error.digest, error.events = self.digest, self.events
            error.task_definition_arn = self.task_definition_arn
            error.service_deployment_arn = self.service_deployment_arn
            error.record = self.record
            error.analysis = asdict(self.analysis) if self.analysis is not None else None
        elif isinstance(error, (KeyboardInterrupt, InterruptedByUserError)):
            self.outcome, self.cause = "interrupted", str(error) or "interrupted"
        else:
            # Where the lease was lost, somebody else was at work: whoever goes on with this one looks first.
            has_changed = any(step.what == APPLYING for step in self.steps) or isinstance(
                error, LeaseLostError
            )
            self.outcome = REFUSED if isinstance(error, RefusedError) and not has_changed else "failed"
            self.cause = (
                error.message if isinstance(error, MclassError) else f"{type(error).__name__}: {error}"
            )


def ledger_of(session: Session) -> Ledger:
    return Ledger(
        session.aws,
        session.environment.backend,
        environment=session.environment.name,
        report=session.report,
    )


def lease_of(session: Session) -> Lease:
    return Lease(session.aws, session.environment.backend, environment=session.environment.name)


def holding_lease(session: Session, *, command: str, digest: str) -> AbstractContextManager[HeldLease]:
    """Keep others off the environment's service meanwhile; raise LeaseHeldError where somebody is at work there."""
    who = session.aws.sts.get_caller_identity()["Arn"]
    return lease_of(session).held(Holder.here(who=who, command=command, digest=digest))


def begun(
    session: Session,
    *,
    command: str,
    digest: str,
    revision: str = "",
    promoted_from: Origin | None = None,
    strategy: str = "ROLLING",
    resumes: str = "",
    pause_at: tuple[str, ...] = (),
) -> AttemptStart:
    """Return what is known before anything is changed; `revision` "": as images and ledger here know it."""
    return AttemptStart(
        command=command,
        environment=session.environment.name,
        who=session.aws.sts.get_caller_identity()["Arn"],
        at=_text(session.aws.now()),
        commit=_commit(session),
        digest=digest,
        revision=revision or revision_of(session, digest),
        strategy=strategy,
        state_serial=session.state().serial,
        promoted_from=promoted_from,
        resumes=resumes,
        pause_at=pause_at,
    )


def plan_details(*, sha256: str, serial: int, verdicts: Sequence[gates.Verdict]) -> dict[str, Any]:
    """Return the details of the step PLANNED."""
    judged = (
        GateVerdict(gate=each.gate, passed=each.passed, checked=each.checked, waived=len(each.waived))
        for each in verdicts
    )
    return {"plan_sha256": sha256, "state_serial": serial, "gates": [asdict(each) for each in judged]}


class Writer:
    """Writes steps in the order in which they come, beside what goes on: a slow S3 holds nothing up, a failing one stops nothing."""

    def __init__(self, write: Callable[[int, Step], None], *, tell: Callable[[str], None]) -> None:
        self._write = write
        self._tell = tell
        self._steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def add(self, step: Step) -> None:
        self._steps.put(step)

    def close(self) -> None:
        """Wait until all is written, for a while."""
        self._steps.put(None)
        self._thread.join(_WRITTEN_WITHIN)

    def _run(self) -> None:
        number, is_told = 1, False
        while (step := self._steps.get()) is not None:
            try:
                self._write(number, step)
            except Exception as error:  # noqa: BLE001  (what is released matters more than what is noted of it)
                if not is_told:
                    is_told = True
                    self._tell(
                        f"the ledger does not take what is done meanwhile; the release goes on: {error}"
                    )
            else:
                number += 1


@contextmanager
def recorded(session: Session, begun: AttemptStart) -> Iterator[Attempt]:
    """Record the attempt that is made inside: also how it failed, and never in the place of why."""
    ledger = ledger_of(session)
    name = ledger.begin(begun)
    if begun.resumes:
        _settle(session, begun, by=ledger.url(name))
    writer = Writer(partial(ledger.step, name), tell=session.report)
    attempt = Attempt(
        record=ledger.url(name),
        digest=begun.digest,
        revision=begun.revision,
        started_at=dt.datetime.fromisoformat(begun.at),
        write=writer.add,
        now=session.aws.now,
    )
    try:
        yield attempt
    except BaseException as error:
        attempt.failed(error)
        with suppress(Exception):
            writer.close()
            ledger.end(name, _ended(session, attempt))
        raise
    writer.close()
    ledger.end(name, _ended(session, attempt))


def _settle(session: Session, successor: AttemptStart, *, by: str) -> None:
    """Give an attempt that was cut off its end, once another one goes on with it."""
    ledger = ledger_of(session)
    record = ledger.read(successor.resumes)
    if record.ended is not None:
        return
    rolling_out = record.last(ROLLING_OUT)
    details = rolling_out.details if rolling_out else {}
    at = dt.datetime.fromisoformat(successor.at)
    end = AttemptEnd(
        at=_text(session.aws.now()),
        outcome=CUT_OFF,
        cause=f"the attempt of {at:%Y-%m-%d %H:%M:%S} goes on with it: {by}",
        task_definition_arn=str(details.get("task_definition", "")),
        service_deployment_arn=str(details.get("service_deployment", "")),
        is_verified=False,
        state_serial=record.begun.state_serial,
        before=record.ran,
        steps=record.steps,
    )
    ledger.end(record.name, end)


def attempts_on(session: Session, service_deployment_arn: str) -> Iterator[Record]:
    """Yield the attempts that have started or adopted a service deployment, the latest first."""
    records = ledger_of(session).latest_first(most=_LOOKED_BACK)
    return (record for record in records if record.service_deployment_arn == service_deployment_arn)


def pauses_asked_for(session: Session, service_deployment_arn: str) -> set[str]:
    """Return the stages at which those who have started or adopted a service deployment asked it to wait for them."""
    return {
        stage for record in attempts_on(session, service_deployment_arn) for stage in record.begun.pause_at
    }


def revision_of(session: Session, digest: str) -> str:
    """Return the source revision of an image: from the images that were built here, else from the ledger; "" where unknown."""
    if not digest:
        return ""
    with suppress(NoImageError, CorruptedImageError):
        return image.Images(session.project.home / "images").read(digest).revision
    records = ledger_of(session).of_image(digest)
    return next((record.begun.revision for record in records if record.begun.revision), "")


def _ended(session: Session, attempt: Attempt) -> AttemptEnd:
    return AttemptEnd(
        at=_text(attempt.now()),
        outcome=attempt.outcome,
        cause=attempt.cause,
        task_definition_arn=attempt.task_definition_arn,
        service_deployment_arn=attempt.service_deployment_arn,
        is_verified=attempt.is_verified,
        state_serial=session.state().serial,
        events=tuple(Event(at=event.at.isoformat(), message=event.message) for event in attempt.events),
        smoke=attempt.smoke,
        before=attempt.before,
        stages=attempt.stages,
        analysis=attempt.analysis,
        traffic=attempt.traffic,
        steps=attempt.steps,
    )


def _commit(session: Session) -> str:
    try:
        return image.read_revision(session.project.folder, env=session.env, run=process.run).name
    except RevisionError:
        return ""


def _text(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds")

"""An attempt to change what the service runs, recorded in the ledger when it begins and when it ends."""

from __future__ import annotations

import datetime as dt
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from mclass_tf import credentials, gates, image
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

_LOOKED_BACK = 10  # attempts; the one of a rollout under way is among the latest
_WRITTEN_WITHIN = 10.0  # seconds to wait for the last steps before the outcome is written


def _unwritten(_: Step) -> None:
    pass


@dataclass(kw_only=True)
class Attempt:
    """What is known about an attempt so far. `record` is its URL in the ledger.

    `contradiction` says why production traffic was not to be shifted, besides the smoke test.
    """

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
    unreachable: str = ""
    contradiction: str = ""
    before: tuple[OneOffResult, ...] = ()
    stages: tuple[Stage, ...] = ()
    analysis: AnalysisResult | None = None
    traffic: Traffic | None = None
    steps: tuple[Step, ...] = ()
    write: Callable[[Step], None] = _unwritten
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)

    def reach(self, what: str, **details: Any) -> None:
        """Record in the ledger that the attempt reached a step. `details` must be JSON types."""
        step = Step(what=what, at=_text(self.now()), details=details)
        self.steps = (*self.steps, step)
        self.write(step)

    def note_before(self, ran: OneOffResult) -> None:
        """Record a command that ran in the new version before the rollout."""
        self.before = (*self.before, ran)
        self.reach(BEFORE, **asdict(ran))

    def note_stage(self, deployment: ServiceDeployment) -> None:
        """Record the stage of the rollout if it changed."""
        name = deployment.stage or deployment.status
        last = self.stages[-1] if self.stages else None
        if last is None or (last.name, last.production) != (name, deployment.production):
            at = _text(self.now())
            self.stages = (*self.stages, Stage(name=name, at=at, production=deployment.production))
            self.reach(name, production=deployment.production)

    def failed(self, error: BaseException) -> None:
        """Set the outcome and cause from the error, and add the attempt's details to the error."""
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
            # A lost lease means that somebody else was at work: count the attempt as one that changed something.
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
    """Hold the lease of the environment; raise LeaseHeldError if another command holds it."""
    holder = Holder.here(who=_who(session), command=command, digest=digest)
    return lease_of(session).held(holder, report=session.report)


def _who(session: Session) -> str:
    """Return the caller's ARN, and the CI job if the ARN does not name it: many jobs use one name for their sessions."""
    arn = str(session.aws.sts.get_caller_identity()["Arn"])
    job = credentials.job(session.env)
    return arn if not job or arn.endswith(f"/{job}") else f"{arn} ({job})"


def new_record(
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
    """Return the first record of an attempt. If `revision` is "", look it up in the local images and the ledger."""
    return AttemptStart(
        command=command,
        environment=session.environment.name,
        who=_who(session),
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
    """Return the details of the step `PLANNED`."""
    judged = (
        GateVerdict(gate=each.gate, passed=each.passed, checked=each.checked, waived=len(each.waived))
        for each in verdicts
    )
    return {"plan_sha256": sha256, "state_serial": serial, "gates": [asdict(each) for each in judged]}


class Writer:
    """Writes steps in order on a background thread. A slow or failing S3 neither delays nor stops the release."""

    def __init__(self, write: Callable[[int, Step], None], *, report: Callable[[str], None]) -> None:
        self._write = write
        self._report = report
        self._steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def add(self, step: Step) -> None:
        self._steps.put(step)

    def close(self) -> None:
        """Wait up to `_WRITTEN_WITHIN` seconds until all steps are written."""
        self._steps.put(None)
        self._thread.join(_WRITTEN_WITHIN)

    def _run(self) -> None:
        number, is_reported = 1, False
        while (step := self._steps.get()) is not None:
            try:
                self._write(number, step)
            except Exception as error:  # noqa: BLE001  (a step that is not recorded must not stop a release)
                if not is_reported:
                    is_reported = True
                    self._report(f"the ledger cannot be written now; the release continues: {error}")
            else:
                number += 1


@contextmanager
def recorded(session: Session, begun: AttemptStart) -> Iterator[Attempt]:
    """Record the attempt made in this context, including its failure. A failing ledger never hides the original error."""
    ledger = ledger_of(session)
    name = ledger.begin(begun)
    if begun.resumes:
        _settle(session, begun, by=ledger.url(name))
    writer = Writer(partial(ledger.step, name), report=session.report)
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
    """Record the outcome of a cut-off attempt once another attempt resumes it."""
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
        cause=f"the attempt of {at:%Y-%m-%d %H:%M:%S} resumed it: {by}",
        task_definition_arn=str(details.get("task_definition", "")),
        service_deployment_arn=str(details.get("service_deployment", "")),
        is_verified=False,
        state_serial=record.begun.state_serial,
        before=record.ran,
        steps=record.steps,
    )
    ledger.end(record.name, end)


def attempts_on(session: Session, service_deployment_arn: str) -> Iterator[Record]:
    """Yield the attempts that started or adopted a service deployment, latest first."""
    records = ledger_of(session).latest_first(most=_LOOKED_BACK)
    return (record for record in records if record.service_deployment_arn == service_deployment_arn)


def requested_pauses(session: Session, service_deployment_arn: str) -> set[str]:
    """Return the stages at which the attempts on a service deployment asked it to pause."""
    return {
        stage for record in attempts_on(session, service_deployment_arn) for stage in record.begun.pause_at
    }


def revision_of(session: Session, digest: str) -> str:
    """Return the git revision of an image, from the images built here or else from the ledger; "" if unknown."""
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

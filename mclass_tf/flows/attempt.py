"""An attempt to change what the service runs, written into the ledger before it begins and when it is over."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from mclass_tf import gates, image, process
from mclass_tf.errors import (
    InterruptedByUserError,
    MclassError,
    NoImageError,
    RevisionError,
    RolloutError,
    ServiceEvent,
)
from mclass_tf.lease import Holder, Lease
from mclass_tf.ledger import Begun, Compared, Ended, Event, Ledger, OneOff, Origin, Smoke, Stage, Verdict
from mclass_tf.service import ServiceDeployment
from mclass_tf.session import Session


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
    smoke: tuple[Smoke, ...] = ()
    before: tuple[OneOff, ...] = ()
    stages: tuple[Stage, ...] = ()
    analysis: Compared | None = None

    def note_stage(self, deployment: ServiceDeployment) -> None:
        """Note the stage that the rollout is at, where it is another one than before."""
        name = deployment.stage or deployment.status
        last = self.stages[-1] if self.stages else None
        if last is None or (last.name, last.production) != (name, deployment.production):
            at = _now().isoformat(timespec="milliseconds")
            self.stages = (*self.stages, Stage(name=name, at=at, production=deployment.production))

    def failed(self, error: BaseException) -> None:
        """Note how it ended, and tell the error what it was about."""
        if isinstance(error, RolloutError):
            self.outcome, self.cause = error.outcome, error.cause
            error.digest, error.events = self.digest, self.events
            error.task_definition_arn = self.task_definition_arn
            error.service_deployment_arn = self.service_deployment_arn
            error.record = self.record
        elif isinstance(error, (KeyboardInterrupt, InterruptedByUserError)):
            self.outcome, self.cause = "interrupted", str(error) or "interrupted"
        else:
            self.outcome = "failed"
            self.cause = (
                error.message if isinstance(error, MclassError) else f"{type(error).__name__}: {error}"
            )


def ledger_of(session: Session) -> Ledger:
    return Ledger(session.aws, session.environment.backend, environment=session.environment.name)


def lease_of(session: Session) -> Lease:
    return Lease(session.aws, session.environment.backend, environment=session.environment.name)


def alone(session: Session, *, command: str, digest: str) -> AbstractContextManager[None]:
    """Keep others off the environment's service meanwhile; raise LeaseHeldError where somebody is at work there."""
    who = session.aws.sts.get_caller_identity()["Arn"]
    return lease_of(session).held(Holder.here(who=who, command=command, digest=digest))


def begun(
    session: Session,
    *,
    command: str,
    digest: str,
    plan_sha256: str = "",
    verdicts: Sequence[gates.Verdict] = (),
    revision: str = "",
    promoted_from: Origin | None = None,
    strategy: str = "ROLLING",
) -> Begun:
    """Return what is known before anything is changed; `revision` "": as images and ledger here know it."""
    return Begun(
        command=command,
        environment=session.environment.name,
        who=session.aws.sts.get_caller_identity()["Arn"],
        at=_now().isoformat(timespec="milliseconds"),
        commit=_commit(session),
        digest=digest,
        revision=revision or revision_of(session, digest),
        strategy=strategy,
        state_serial=session.state().serial,
        plan_sha256=plan_sha256,
        gates=tuple(
            Verdict(gate=each.gate, passed=each.passed, checked=each.checked, waived=len(each.waived))
            for each in verdicts
        ),
        promoted_from=promoted_from,
    )


@contextmanager
def recorded(session: Session, begun: Begun) -> Iterator[Attempt]:
    """Record the attempt that is made inside: also how it failed, and never in the place of why."""
    ledger = ledger_of(session)
    name = ledger.begin(begun)
    attempt = Attempt(
        record=ledger.url(name),
        digest=begun.digest,
        revision=begun.revision,
        started_at=dt.datetime.fromisoformat(begun.at),
    )
    try:
        yield attempt
    except BaseException as error:
        attempt.failed(error)
        with suppress(Exception):
            ledger.end(name, _ended(session, attempt))
        raise
    ledger.end(name, _ended(session, attempt))


def revision_of(session: Session, digest: str) -> str:
    """Return the source revision of an image: from the images that were built here, else from the ledger."""
    with suppress(NoImageError):
        return image.Images(session.project.home / "images").read(digest).revision
    records = ledger_of(session).latest_first()
    return next((r.begun.revision for r in records if r.begun.digest == digest and r.begun.revision), "")


def _ended(session: Session, attempt: Attempt) -> Ended:
    return Ended(
        at=_now().isoformat(timespec="milliseconds"),
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
    )


def _commit(session: Session) -> str:
    try:
        return image.read_revision(session.project.folder, env=session.env, run=process.run).name
    except RevisionError:
        return ""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)

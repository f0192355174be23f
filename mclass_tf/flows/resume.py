"""`release --resume`: resumes a cut-off attempt from the state that AWS is in now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import replace

from mclass_tf import verify
from mclass_tf.errors import (
    Hint,
    NoImageError,
    ReleaseMissingError,
    RevisionGoneError,
    SupersededError,
    UsageError,
)
from mclass_tf.flows.attempt import ledger_of, new_record, recorded
from mclass_tf.flows.deployer.deploy import Deployer, OnInterrupt, Show, WatchOptions
from mclass_tf.flows.deployer.redeployment import await_redeployment
from mclass_tf.flows.deployer.wiring import require_pauses
from mclass_tf.flows.environments import Confirm, Planned, applied_state
from mclass_tf.flows.promote import require_path
from mclass_tf.flows.proof import require_not_withdrawn
from mclass_tf.flows.release import (
    Released,
    ReleaseRequest,
    detach_on_interrupt,
    finish,
    ignore_plan,
    plan_apply_and_roll_out,
    require_free,
    require_pushed,
    result,
)
from mclass_tf.flows.rollback import resume_rollback
from mclass_tf.ledger import APPLYING, CUT_OFF, LOOKED_BACK, ROLLING_OUT, AttemptStart, OneOffResult, Record
from mclass_tf.service import ROLLING_BACK, ServiceDeployment
from mclass_tf.session import Session

_FORWARD = ("release", "promote", "continue")
# Outcomes after which ECS may still be at work, or work is left to do.
_OPEN = (CUT_OFF, "failed", "interrupted", "stalled")


def resume(
    session: Session,
    *,
    source: Callable[[str], Session],
    confirm: Confirm,
    show: Show,
    on_interrupt: OnInterrupt = detach_on_interrupt,
    stall_after: float | None = None,
    show_plan: Callable[[Planned], None] = ignore_plan,
    pause_at: tuple[str, ...] = (),
) -> Released:
    """Resume the last attempt, which was cut off, detached from or failed midway, and return when its image serves.

    The state of AWS decides, not the record. If ECS knows the attempt's deployment, it is followed to its end, or its end is
    reported. Otherwise the release starts again from its plan, with the same image. The image of a promotion must not have
    been taken back in its source environment, which `source` opens. Raises PromotionRefusedError (exit 5) if it was,
    UsageError (2) if a rollout under way does not wait at a stage of `pause_at`, ReleaseMissingError (3) if no attempt was cut
    off, LeaseHeldError (5) if its command still runs, RolloutError or a subclass (6) if ECS rolled it back or somebody
    deployed something else, and what `release` raises.
    """
    deployer = Deployer.of(session, verify.Outputs.parse(applied_state(session).outputs))
    watching = WatchOptions(show=show, on_interrupt=on_interrupt, stall_after=stall_after)
    session.aws.warm()
    with deployer.holding_lease(command="release --resume", digest="") as deployer:
        name = session.environment.name
        record = resumable_attempt(ledger_of(session).latest_first(most=LOOKED_BACK), environment=name)
        watching = replace(watching, pause_at=tuple({*pause_at, *record.begun.pause_at}))
        session.report(f"resuming {_summary(record)}")
        if record.begun.command not in _FORWARD:
            if pause_at:
                raise UsageError(
                    f"what was cut off in {name} is a {record.begun.command}: it waits at no stage",
                    hint="leave out --pause-at",
                )
            return resume_rollback(deployer, record, watching)
        current = own_deployment(deployer, record)
        if current is not None:
            if pause_at:
                require_pauses(
                    session, deployer.service(), pause_at, under_way=deployer.pauses.stages_under_way()
                )
            return _adopt(deployer, record, current, watching)
        _require_untouched(deployer, record)
        origin = record.begun.promoted_from
        if origin is not None:
            there = source(origin.environment)
            require_path(there, session)
            require_not_withdrawn(there, digest=record.begun.digest)
        _require_image(deployer, record)
        _await_redeployment(deployer, record, watching)
        require_free(deployer, record.begun.digest)
        return plan_apply_and_roll_out(
            deployer, _request(session, record), watching, confirm=confirm, show_plan=show_plan
        )


def resumable_attempt(records: Iterable[Record], *, environment: str) -> Record:
    """Return the attempt to resume from `records`, latest first; raise ReleaseMissingError if there is none.

    Attempts that ended before they changed anything do not count: if one of them was to resume another, that is still open.
    """
    last = next((record for record in records if not record.is_harmless), None)
    if last is None or (last.ended is not None and last.ended.outcome not in _OPEN):
        summary = "nothing was released there yet" if last is None else f"the last one, {_summary(last)}"
        raise ReleaseMissingError(
            f"no attempt was cut off in {environment}: {summary}; nothing was changed",
            hint=Hint(
                ("release", environment),
                " begins a new one; ",
                ("history", environment),
                " tells what there was",
            ),
        )
    return last


def _summary(record: Record) -> str:
    outcome = record.ended.outcome if record.ended is not None else CUT_OFF
    where = f" at {record.at_step}" if record.at_step and outcome in _OPEN else ""
    return f"the {record.begun.command} of {record.begun.digest or 'nothing'}: {outcome}{where}"


def own_deployment(deployer: Deployer, record: Record) -> ServiceDeployment | None:
    """Return the service deployment of an attempt, even if it has ended; None if the attempt started none.

    An attempt may have died between UpdateService and its record. Then it is the deployment, created since the attempt began,
    that brings what was applied.
    """
    outputs = deployer.outputs
    if outputs.image_digest != record.begun.digest:
        return None
    known = record.last(ROLLING_OUT)
    if known is not None and known.details.get("task_definition") == outputs.task_definition_arn:
        try:
            arn = str(known.details.get("service_deployment", ""))
            return deployer.patience(lambda: deployer.ecs.service_deployment(arn))
        except RevisionGoneError:
            return None  # ECS keeps them for 90 days
    began = dt.datetime.fromisoformat(record.begun.at)
    listed = deployer.patience(lambda: deployer.ecs.service_deployments(since=began))
    return next((each for each in listed if _brings(deployer, each, outputs.task_definition_arn)), None)


def _brings(deployer: Deployer, deployment: ServiceDeployment, task_definition_arn: str) -> bool:
    try:
        return deployer.task_definition_of(deployment) == task_definition_arn
    except RevisionGoneError:  # deleted since, with its service
        return False


def _adopt(
    deployer: Deployer, record: Record, current: ServiceDeployment, watching: WatchOptions
) -> Released:
    session, arn = deployer.session, deployer.outputs.task_definition_arn
    with recorded(session, _resumed(session, record)) as attempt:
        for ran in _completed_commands(record):
            attempt.note_before(ran)
        reset_to = 0 if deployer.replaces_only_placeholder(current) else None
        ours = deployer.adopt(current.arn, task_definition_arn=arn)
        report = finish(deployer, ours, watching, attempt, reset_to=reset_to)
    return result(session, attempt, report)


def foreign_revision(record: Record, *, runs: str, applied: str) -> str:
    """Return the FAMILY:REVISION that somebody else deployed since the attempt began, "" for none.

    `runs` is the task definition of the service, `applied` that of the outputs. An attempt that changed nothing yet has no
    conflict.
    """
    applying = record.last(APPLYING)
    if applying is None or runs in (applying.details.get("serving"), applied):
        return ""
    return runs.rsplit("/", 1)[-1]


def _require_untouched(deployer: Deployer, record: Record) -> None:
    """Raise SupersededError if the service runs neither the old nor the new version of the attempt."""
    session, name = deployer.session, deployer.session.environment.name
    runs = deployer.service().task_definition_arn
    revision = foreign_revision(record, runs=runs, applied=deployer.outputs.task_definition_arn)
    if not revision:
        return
    with recorded(session, _resumed(session, record)):
        raise SupersededError(
            f"somebody has deployed something else in {name} since: {revision} runs; it was left as it is",
            hint=Hint(
                ("status", name),
                " shows what runs; release again if need be: ",
                ("release", name, "--image", record.begun.digest),
                deployer.pauses.inherited(),
            ),
            cause=f"{revision} was deployed meanwhile",
        )


def _await_redeployment(deployer: Deployer, record: Record, watching: WatchOptions) -> None:
    """Wait for a deployment of the old version, which the attempt's apply or wiring may have started."""
    applying, current = record.last(APPLYING), deployer.ongoing()
    if applying is None or current is None:
        return
    serving = str(applying.details.get("serving"))
    if current.status in ROLLING_BACK or deployer.task_definition_of(current) != serving:
        return
    await_redeployment(deployer, current, watching, task_definition_arn=serving)


def _require_image(deployer: Deployer, record: Record) -> None:
    """Raise NoImageError if the image is not in the repository: deleted since, or not copied yet."""
    begun, name = record.begun, deployer.session.environment.name
    try:
        require_pushed(deployer.session, deployer.outputs, begun.digest)
    except NoImageError as error:
        runs = deployer.service().task_definition_arn.rsplit("/", 1)[-1]
        again = (
            Hint(("promote", begun.promoted_from.environment, name), " copies it")
            if begun.promoted_from
            else error.hint
        )
        raise NoImageError(
            f"going on is impossible: {error.message}; {runs} serves",
            hint=Hint(again, "; ", ("rollback", name), " goes back"),
        ) from None


def _resumed(session: Session, record: Record) -> AttemptStart:
    """Return the first record of an attempt that resumes another without a new plan."""
    return new_record(
        session,
        command=record.begun.command,
        digest=record.begun.digest,
        revision=record.begun.revision,
        promoted_from=record.begun.promoted_from,
        strategy=record.begun.strategy,
        resumes=ledger_of(session).url(record.name),
    )


def _request(session: Session, record: Record) -> ReleaseRequest:
    return ReleaseRequest(
        digest=record.begun.digest,
        command=record.begun.command,
        revision=record.begun.revision,
        promoted_from=record.begun.promoted_from,
        resumes=ledger_of(session).url(record.name),
        ran=_completed_commands(record),
    )


def _completed_commands(record: Record) -> tuple[OneOffResult, ...]:
    return tuple(ran for ran in record.ran if ran.exit_code == 0)

"""`release`: plan, judge, apply, roll out, watch, verify and record."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from mclass_tf import image, verify
from mclass_tf.aws import error_code
from mclass_tf.errors import (
    ApprovalRefusedError,
    DeploymentInProgressError,
    Hint,
    NoImageError,
    ServesWorseError,
    ServiceEvent,
)
from mclass_tf.flows.architecture import planned_architecture, require_image_fits
from mclass_tf.flows.attempt import Attempt, ledger_of, new_record, plan_details, recorded
from mclass_tf.flows.before import run_before_commands
from mclass_tf.flows.deployer.deploy import Deployer, OnInterrupt, Show, WatchOptions
from mclass_tf.flows.deployer.messages import serves_worse
from mclass_tf.flows.deployer.reach import is_tested, require_reach, require_test_traffic
from mclass_tf.flows.deployer.redeployment import (
    await_listing,
    await_redeployment,
    known_deployments,
    redeploys,
)
from mclass_tf.flows.deployer.scaling import set_scaling_minimum
from mclass_tf.flows.deployer.wiring import (
    is_wired,
    require_pauses,
    require_wiring,
    target_group_in_use,
    wiring_settings,
)
from mclass_tf.flows.environments import (
    Confirm,
    Planned,
    applied_state,
    apply_locked,
    discard_plan_locked,
    plan_locked,
)
from mclass_tf.flows.retention import keep_image
from mclass_tf.ledger import (
    APPLYING,
    LOOKED_BACK,
    PLANNED,
    PLANNING,
    AnalysisResult,
    AttemptStart,
    OneOffResult,
    Origin,
)
from mclass_tf.rollout import (
    BeforeUpdate,
    Choice,
    RolloutEnd,
    RolloutOutcome,
    ServiceUpdate,
    StartedRollout,
    await_service,
)
from mclass_tf.service import ROLLING_BACK, Service, ServiceDeployment
from mclass_tf.session import Session
from mclass_tf.strategy import Strategy

RELEASED, UNCHANGED = "released", "unchanged"


@dataclass(frozen=True, kw_only=True)
class Released:
    """The result of a release or rollback. `outcome` is "released", "unchanged" or "rolled back".

    The new version serves. `verification` reports whether the environment matches its outputs. `record` is the URL of the
    ledger's record (s3://…). `analysis` compares the versions under traffic, None if they were not compared.
    """

    environment: str
    digest: str
    outcome: str
    task_definition_arn: str
    service_deployment_arn: str | None
    started_at: dt.datetime
    ended_at: dt.datetime
    events: tuple[ServiceEvent, ...]
    verification: verify.VerifyReport
    record: str
    cause: str = ""
    analysis: AnalysisResult | None = None


@dataclass(frozen=True, kw_only=True)
class ReleaseRequest:
    """The image to release and the command that asked for it. `revision` is "" if unknown.

    `promoted_from` is the origin of a promotion. `resumes` is the record of the cut-off attempt that this one resumes, and
    `ran` the commands before the rollout that already ran in it.
    """

    digest: str
    command: str = "release"
    revision: str = ""
    promoted_from: Origin | None = None
    resumes: str = ""
    ran: tuple[OneOffResult, ...] = ()


def detach_on_interrupt() -> Choice:
    """Leave an interrupted rollout to ECS."""
    return Choice.DETACH


def ignore_plan(_: Planned) -> None:
    pass


def release(
    session: Session,
    *,
    digest: str | None,
    confirm: Confirm,
    show: Show,
    on_interrupt: OnInterrupt = detach_on_interrupt,
    stall_after: float | None = None,
    show_plan: Callable[[Planned], None] = ignore_plan,
    pause_at: tuple[str, ...] = (),
    before_update: BeforeUpdate = dict,
) -> Released:
    """Release an image, by default the latest one built, and return when it serves.

    The rollout pauses at the stages of `pause_at`. `stall_after` is the number of seconds without progress that counts as a
    stall; None uses the environment's setting. `before_update` is called just before UpdateService. Raises UsageError (exit 2)
    if the rollout cannot pause at a stage, NoImageError (3) if the repository lacks the image, LeaseHeldError (5) if another
    command is at work in the environment, DeploymentInProgressError (5) if somebody else's deployment is under way, and
    RolloutError or a subclass (6).
    """
    request = ReleaseRequest(digest=digest or image.Images(session.project.home / "images").latest().digest)
    outputs = verify.Outputs.parse(applied_state(session).outputs)
    deployer = Deployer.of(session, outputs, before_update=before_update)
    require_pushed(session, outputs, request.digest)
    watching = WatchOptions(show=show, on_interrupt=on_interrupt, stall_after=stall_after, pause_at=pause_at)
    with deployer.holding_lease(command=request.command, digest=request.digest) as deployer:
        require_free(deployer, request.digest)
        return plan_apply_and_roll_out(deployer, request, watching, confirm=confirm, show_plan=show_plan)


def plan_apply_and_roll_out(
    deployer: Deployer,
    request: ReleaseRequest,
    watching: WatchOptions,
    *,
    confirm: Confirm,
    show_plan: Callable[[Planned], None],
    arrive: Callable[[], object] = lambda: None,
) -> Released:
    """Plan, judge, apply and roll out an image. The caller holds the lease, and the service is free.

    `arrive` blocks until the image is in the repository. If it raises, nothing was changed.
    """
    session, outputs = deployer.session, deployer.outputs
    before = deployer.service()
    require_wiring(session, outputs, before)
    if watching.pause_at:
        require_pauses(session, before, watching.pause_at, under_way=deployer.pauses.stages_under_way())
    if is_tested(session) and before.desired > 0 and outputs.test_header is not None:
        require_test_traffic(
            session, outputs
        )  # else the apply brings the test rule, and it is asked for afterwards
    session.aws.warm()
    with ExitStack() as held:
        held.enter_context(session.locked_workspace())
        with recorded(session, _first_record(session, request, before, watching.pause_at)) as attempt:
            for ran in request.ran:
                attempt.note_before(ran)
            planned = _plan(session, attempt, request, arrive)
            _require_architecture(deployer, request, planned)
            if planned.plan.has_changes or not runs(before, outputs.task_definition_arn):
                show_plan(planned)
                _ask(session, confirm, request)
            deployer.require_lease()  # a question may have been open for a night
            keep_image(deployer, request.digest)
            attempt.reach(APPLYING, serving=before.task_definition_arn, desired=before.desired)
            if deployer.ongoing() is None:
                deployer.pauses.drop()  # left by a release that died; the apply may start a deployment
            known = known_deployments(deployer)
            apply_locked(session)
            held.close()  # from here on, only ECS is used
            if redeploys(planned.plan):
                await_listing(deployer, known=known)
            report = _roll_out(deployer, attempt, watching, before=before)
    return result(session, attempt, report)


def _plan(
    session: Session, attempt: Attempt, request: ReleaseRequest, arrive: Callable[[], object]
) -> Planned:
    attempt.reach(PLANNING)
    planned = plan_locked(session, image=request.digest)
    saved, decision = planned.saved, planned.decision
    details = plan_details(sha256=saved.sha256, serial=saved.serial, verdicts=decision.verdicts)
    attempt.reach(PLANNED, **details)
    decision.require()
    try:
        arrive()
    except BaseException:
        discard_plan_locked(session)  # it would run a missing image
        raise
    return planned


def _require_architecture(deployer: Deployer, request: ReleaseRequest, planned: Planned) -> None:
    """Raise ImageRefusedError if the planned tasks cannot execute the image."""
    architecture = planned_architecture(planned.plan, deployer.session.environment)
    try:
        require_image_fits(
            deployer.session, deployer.outputs, digest=request.digest, architecture=architecture
        )
    except BaseException:
        discard_plan_locked(deployer.session)
        raise


def _first_record(
    session: Session, request: ReleaseRequest, before: Service, pause_at: tuple[str, ...]
) -> AttemptStart:
    strategy = session.environment.release.strategy if before.desired else Strategy()
    return new_record(
        session,
        command=request.command,
        digest=request.digest,
        revision=request.revision,
        promoted_from=request.promoted_from,
        strategy=strategy.ecs_name,
        resumes=request.resumes,
        pause_at=pause_at,
    )


def _roll_out(
    planner: Deployer, attempt: Attempt, watching: WatchOptions, *, before: Service
) -> verify.VerifyReport:
    deployer = planner.with_outputs(verify.Outputs.parse(applied_state(planner.session).outputs))
    arn = attempt.task_definition_arn = deployer.outputs.task_definition_arn
    service, current = _settled(deployer, watching, before=before)
    attempt.outcome = UNCHANGED
    if current is not None or not runs(service, arn):
        if current is None:
            attempt.unreachable = require_reach(deployer.session, deployer.outputs, desired=service.desired)
            run_before_commands(deployer, attempt)
            service, current = _settled(deployer, watching, before=before)
        if _is_to_be_wired(deployer, service, current):
            service, current = deployer.wire(service, watching, attempt), None
        ours, reset_to = start_or_adopt(
            deployer, current, service=service, before=before, pause_at=watching.pause_at
        )
        return finish(deployer, ours, watching, attempt, reset_to=reset_to)
    require_not_worse(deployer, arn)
    return _prove(deployer, attempt)


def _settled(
    deployer: Deployer, watching: WatchOptions, *, before: Service
) -> tuple[Service, ServiceDeployment | None]:
    """Return the service, and the deployment to adopt, None if the service is at rest.

    Wait for a redeployment of what ran before, which the apply has started. Raises DeploymentInProgressError if somebody
    else's deployment is under way.
    """
    current = deployer.ongoing()
    while current is not None and not is_adopted(deployer, current, before=before):
        await_redeployment(deployer, current, watching, task_definition_arn=before.task_definition_arn)
        current = deployer.ongoing()
    return deployer.service(), current


def require_not_worse(deployer: Deployer, task_definition_arn: str) -> None:
    """Raise ServesWorseError if the analysis of this task definition failed and it serves all the same."""
    records = ledger_of(deployer.session).latest_first(most=LOOKED_BACK)
    ends = (record.ended for record in records if record.ended is not None)
    last = next((end for end in ends if end.task_definition_arn == task_definition_arn), None)
    if last is not None and last.outcome == ServesWorseError.outcome:
        raise serves_worse(last.cause, environment=deployer.session.environment.name)


def finish(
    deployer: Deployer,
    ours: StartedRollout,
    watching: WatchOptions,
    attempt: Attempt,
    *,
    reset_to: int | None,
) -> verify.VerifyReport:
    """Follow a rollout to its end and prove the new version; raise RolloutError if the rollout did not succeed."""
    end = deployer.follow(ours, watching, attempt, reset_to=reset_to)
    if end.outcome is RolloutOutcome.SUCCEEDED:
        end = _still_in_force(deployer, end, ours)
    deployer.require_success(
        end, watching, task_definition_arn=ours.task_definition_arn, reset_to=reset_to, attempt=attempt
    )
    attempt.outcome = RELEASED
    return _prove(deployer, attempt)


def _still_in_force(deployer: Deployer, end: RolloutEnd, ours: StartedRollout) -> RolloutEnd:
    """Return the end, as superseded if another deployment followed: an adopted rollout may have ended long ago.

    A description of the service that lags behind shows the version before. Only a later deployment, or a description that stays
    so, is a sign of another version.
    """

    def is_ours(service: Service) -> bool:
        primary = service.primary
        return primary is None or primary.task_definition_arn == ours.task_definition_arn

    if is_ours(end.last.service):
        return end
    ended = end.last.deployment.created_at
    listed = deployer.patience(lambda: deployer.ecs.service_deployments(since=ended))
    later = next((each for each in listed if each.created_at > ended), None)
    if later is None and is_ours(await_service(deployer.ecs, is_ours, patience=deployer.patience)):
        return end
    return replace(end, outcome=RolloutOutcome.SUPERSEDED, by=later)


def _prove(deployer: Deployer, attempt: Attempt) -> verify.VerifyReport:
    set_scaling_minimum(deployer)
    return deployer.prove(attempt, digest=attempt.digest)


def start_or_adopt(
    deployer: Deployer,
    current: ServiceDeployment | None,
    *,
    service: Service,
    before: Service,
    pause_at: tuple[str, ...] = (),
) -> tuple[StartedRollout, int | None]:
    """Start or adopt the rollout. Return it with the desired count to restore if it fails, None for no change."""
    arn = deployer.outputs.task_definition_arn
    if current is not None:
        if not is_adopted(deployer, current, before=before):
            raise _not_free(deployer, current, before.task_definition_arn)
        started = deployer.adopt(current.arn, task_definition_arn=arn)
        return started, 0 if deployer.replaces_only_placeholder(current) else None
    is_first = service.desired == 0
    desired = deployer.outputs.desired_count if is_first else None
    settings = _settings(deployer, service, is_first=is_first, pause_at=pause_at)
    order = ServiceUpdate(task_definition_arn=arn, desired=desired, settings=settings)
    return deployer.start(order), 0 if is_first else None


def is_adopted(deployer: Deployer, current: ServiceDeployment | None, *, before: Service) -> bool:
    """Return whether the deployment under way brings what was applied; raise DeploymentInProgressError if it is not ours."""
    if current is None:
        return False
    revision = deployer.task_definition_of(current)
    if revision == deployer.outputs.task_definition_arn and current.status not in ROLLING_BACK:
        return True
    # An apply that changes the service in place makes ECS redeploy the old task definition.
    if revision != before.task_definition_arn:
        raise _not_free(deployer, current, revision)
    return False


def _settings(
    deployer: Deployer, service: Service, *, is_first: bool, pause_at: tuple[str, ...]
) -> dict[str, Any]:
    """Return the strategy's settings. The first release is rolling, as there is no traffic to shift yet."""
    strategy = deployer.session.environment.release.strategy
    if is_first and strategy.shifts:
        deployer.session.report(f"the first release is rolling; the next ones are {strategy.name}")
        in_use = target_group_in_use(deployer.ecs, deployer.outputs, service, patience=deployer.patience)
        return wiring_settings(deployer.session, deployer.outputs, service, in_use=in_use)
    return deployer.settings(service, strategy, is_tested=True, pause_at=pause_at)


def _is_to_be_wired(deployer: Deployer, service: Service, current: ServiceDeployment | None) -> bool:
    shifts = deployer.session.environment.release.strategy.shifts
    is_running = current is None and service.desired > 0
    return shifts and is_running and not is_wired(deployer.outputs, service)


def runs(service: Service, task_definition_arn: str) -> bool:
    """Return whether the service runs at least one task, and its rollout of that task definition is complete."""
    primary = service.primary
    return (
        primary is not None
        and primary.task_definition_arn == task_definition_arn
        and primary.rollout_state in ("COMPLETED", "")
        and service.desired > 0
    )


def require_free(deployer: Deployer, digest: str) -> None:
    """Raise DeploymentInProgressError if a deployment is under way that a release of `digest` could not adopt."""
    current = deployer.ongoing()
    if current is None:
        return
    outputs, revision = deployer.outputs, deployer.task_definition_of(current)
    same = (outputs.task_definition_arn, outputs.image_digest) == (revision, digest)
    if not same or current.status in ROLLING_BACK:
        raise _not_free(deployer, current, revision)


def _not_free(deployer: Deployer, current: ServiceDeployment, revision: str) -> DeploymentInProgressError:
    name = deployer.session.environment.name
    doing = "being rolled back" if current.status in ROLLING_BACK else "under way"
    return DeploymentInProgressError(
        f"a deployment of {revision.rsplit('/', 1)[-1]} is {doing} in {name} since "
        f"{current.created_at:%Y-%m-%d %H:%M:%S} UTC; the service was left as it is",
        hint=Hint("wait for it to end (", ("status", name), "), or roll it back: ", ("rollback", name)),
    )


def _ask(session: Session, confirm: Confirm, request: ReleaseRequest) -> None:
    name, digest, origin = session.environment.name, request.digest, request.promoted_from
    what = f"Release {digest} in" if origin is None else f"Promote {digest} from {origin.environment} to"
    if not confirm(f"{what} {name} on {session.cloud.label}?"):
        discard_plan_locked(session)
        raise ApprovalRefusedError(f"{name} was left as it is", hint="nothing was changed")


def require_pushed(session: Session, outputs: verify.Outputs, digest: str) -> None:
    """Raise NoImageError if the environment's repository does not contain the image."""
    name = session.environment.name
    try:
        session.aws.ecr.describe_images(
            repositoryName=outputs.repository_name, imageIds=[{"imageDigest": digest}]
        )
    except Exception as error:
        if error_code(error) != "ImageNotFoundException":
            raise
        raise NoImageError(
            f"the repository {outputs.repository_name} of {name} does not have the image {digest}",
            hint=Hint("push it: ", ("push", name, "--image", digest), "; nothing was changed"),
        ) from None


def result(session: Session, attempt: Attempt, report: verify.VerifyReport) -> Released:
    return Released(
        environment=session.environment.name,
        digest=attempt.digest,
        outcome=attempt.outcome,
        cause=attempt.cause,
        task_definition_arn=attempt.task_definition_arn,
        service_deployment_arn=attempt.service_deployment_arn or None,
        started_at=attempt.started_at,
        ended_at=session.aws.now(),
        events=attempt.events,
        verification=report,
        record=attempt.record,
        analysis=attempt.analysis,
    )

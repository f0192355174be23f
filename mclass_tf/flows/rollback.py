"""`rollback`: returns to the previous proven release, or to a named one. It needs no Terraform."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from mclass_tf import verify
from mclass_tf.aws import error_code
from mclass_tf.errors import (
    DeploymentInProgressError,
    Hint,
    ImageRefusedError,
    NoImageError,
    ReleaseMissingError,
    RolloutError,
)
from mclass_tf.flows.architecture import architecture_in, require_image_fits
from mclass_tf.flows.attempt import Attempt, attempts_on, lease_of, ledger_of, new_record, recorded
from mclass_tf.flows.deployer.deploy import Deployer, OnInterrupt, Show, WatchOptions, registered_order
from mclass_tf.flows.deployer.reach import reachability_problem
from mclass_tf.flows.deployer.settling import verify_environment
from mclass_tf.flows.deployer.wiring import rollback_strategy
from mclass_tf.flows.environments import applied_state
from mclass_tf.flows.release import UNCHANGED, Released, detach_on_interrupt, require_pushed, result, runs
from mclass_tf.flows.retention import try_to_keep_image
from mclass_tf.ledger import LOOKED_BACK, Record, proven_releases
from mclass_tf.rollout import RolloutEnd, RolloutOutcome, ServiceUpdate, StartedRollout, await_service
from mclass_tf.service import ROLLING_BACK, Service, ServiceDeployment
from mclass_tf.session import Session
from mclass_tf.strategy import Strategy

ROLLED_BACK = "rolled back"
# ECS's errors for an answer to a pause that came too late, or after somebody else's.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContinueServiceDeployment.html
TAKES_NO_ANSWER = (
    "ClientException",
    "ConflictException",
    "InvalidParameterException",
    "ServiceDeploymentNotFoundException",
)


@dataclass(frozen=True, kw_only=True)
class EarlierVersion:
    """The earlier version that a rollback returns to."""

    task_definition_arn: str
    digest: str


def rollback(
    session: Session,
    *,
    to: str | None,
    show: Show,
    on_interrupt: OnInterrupt = detach_on_interrupt,
    stall_after: float | None = None,
) -> Released:
    """Roll back, and return when the earlier version serves again.

    `to` is a digest or a task definition (FAMILY:REVISION or ARN). Without it, ECS rolls back a deployment that is under way;
    otherwise the service returns to the release proven before the one in force. Raises DeploymentInProgressError (5) if a
    rollback is under way already, ReleaseMissingError (3) if there is nothing to return to, RolloutError or a subclass (6).
    """
    deployer = Deployer.of(session, verify.Outputs.parse(applied_state(session).outputs))
    watching = WatchOptions(show=show, on_interrupt=on_interrupt, stall_after=stall_after)
    session.aws.warm()
    current = deployer.ongoing()
    if current is not None and to is None:
        _require_forward(deployer, current)
        return roll_back_deployment(deployer, current, watching)
    # Undoing a deployment under way needs no lease; returning to another version does.
    with deployer.holding_lease(command="rollback", digest=to or "") as deployer:
        service = deployer.service()
        earlier = _named(deployer, to) if to is not None else _previous(deployer, service)
        return _return_to(deployer, earlier, watching, service=service)


def _require_forward(deployer: Deployer, current: ServiceDeployment) -> None:
    """Refuse to undo a rollback: a repeated `rollback` would bring the withdrawn version back."""
    session, name = deployer.session, deployer.session.environment.name
    if current.status in ROLLING_BACK:
        return  # ECS's own rollback, which is followed to its end
    holder = lease_of(session).holder()
    started_by = [record.begun.command for record in attempts_on(session, current.arn)][-1:]
    is_back = "rollback" in (*started_by, holder.command if holder else "")
    if not is_back and not _is_cut_off_rollback(deployer, current):
        return
    raise DeploymentInProgressError(
        f"a rollback of {name} is under way already; nothing was changed",
        hint=Hint(
            "wait for it: ",
            ("status", name),
            "; ",
            ("release", name, "--resume"),
            " resumes one that was cut off, ",
            ("abort", name),
            " rolls it back, ",
            ("rollback", name, "--to", "TASK_DEFINITION"),
            " goes elsewhere",
        ),
    )


def _is_cut_off_rollback(deployer: Deployer, current: ServiceDeployment) -> bool:
    """Return whether the last attempt is a rollback that died between starting this deployment and recording it."""
    last = next(ledger_of(deployer.session).latest_first(most=LOOKED_BACK), None)
    if last is None or last.is_over or last.begun.command != "rollback":
        return False
    brings = _digest(deployer, deployer.task_definition_of(current))
    return brings == last.begun.digest and current.created_at >= dt.datetime.fromisoformat(last.begun.at)


def resume_rollback(deployer: Deployer, record: Record, watching: WatchOptions) -> Released:
    """Resume a cut-off rollback from the present state of the service. The caller holds the lease."""
    url, digest = ledger_of(deployer.session).url(record.name), record.begun.digest
    current, service = deployer.ongoing(), deployer.service()
    brings = "" if current is None else _digest(deployer, deployer.task_definition_of(current))
    if current is not None and (current.status in ROLLING_BACK or brings != digest):
        return roll_back_deployment(deployer, current, watching, command=record.begun.command, resumes=url)
    if not digest:
        raise ReleaseMissingError(
            f"nothing ran in {record.begun.environment} before what was to be rolled back, and nothing is under way",
            hint=Hint(("status", deployer.session.environment.name), " shows what runs"),
        )
    runs_it = _digest(deployer, service.task_definition_arn) == digest
    earlier = (
        EarlierVersion(task_definition_arn=service.task_definition_arn, digest=digest)
        if runs_it
        else _named(deployer, digest)
    )
    return _return_to(deployer, earlier, watching, service=service, resumes=url)


def roll_back_deployment(
    deployer: Deployer,
    current: ServiceDeployment,
    watching: WatchOptions,
    *,
    command: str = "rollback",
    resumes: str = "",
) -> Released:
    """Have ECS undo the deployment under way; return when the old version serves again."""
    session = deployer.session
    undone = deployer.task_definition_of(current)
    from_nothing = deployer.replaces_only_placeholder(current)
    sources = deployer.sources_of(current)
    digest = "" if from_nothing or not sources else _digest(deployer, sources[0])
    with recorded(session, new_record(session, command=command, digest=digest, resumes=resumes)) as attempt:
        started = deployer.adopt(current.arn, task_definition_arn=undone)
        if current.status not in ROLLING_BACK:
            request_rollback(deployer, current)
        reset_to = 0 if from_nothing else None
        end = deployer.follow(started, watching, attempt, reset_to=reset_to, is_compared=False)
        attempt.task_definition_arn = end.last.service.task_definition_arn
        if end.outcome is not RolloutOutcome.ROLLED_BACK:
            _raise_not_rolled_back(deployer, end, watching, undone)
        attempt.task_definition_arn = _running_again(deployer, end, sources)
        if not digest and not from_nothing:  # ECS did not say what ran before
            attempt.digest = _digest(deployer, attempt.task_definition_arn)
        is_empty = from_nothing or attempt.digest == verify.PLACEHOLDER
        report = _prove(deployer, attempt, is_empty=is_empty)
    return result(session, attempt, report)


def _running_again(deployer: Deployer, end: RolloutEnd, sources: tuple[str, ...]) -> str:
    """Return the task definition that runs again; wait for it if the description of the service lags behind."""
    if not sources or end.last.service.task_definition_arn in sources:
        return end.last.service.task_definition_arn
    service = await_service(
        deployer.ecs, lambda found: found.task_definition_arn in sources, patience=deployer.patience
    )
    return service.task_definition_arn


def request_rollback(deployer: Deployer, current: ServiceDeployment) -> None:
    """Ask ECS to undo the deployment. One that has just ended cannot be undone; its end shows that.

    A pause is answered with a rollback, so that ECS records that a user asked for it.
    """
    for hook in deployer.describe_service_deployment(current).pauses:
        try:
            deployer.patience(lambda: deployer.ecs.answer_pause(current.arn, hook.id, goes_on=False))  # noqa: B023  # called at once
        except Exception as error:
            if error_code(error) not in TAKES_NO_ANSWER:
                raise
        else:
            return
    try:
        deployer.patience(lambda: deployer.ecs.roll_back(current.arn))
    except Exception as error:
        if error_code(error) != "ConflictException":
            raise


def _raise_not_rolled_back(deployer: Deployer, end: RolloutEnd, watching: WatchOptions, undone: str) -> None:
    if end.outcome is RolloutOutcome.SUCCEEDED:
        name = deployer.session.environment.name
        raise RolloutError(
            f"the deployment in {name} was over before ECS could roll it back: {undone.rsplit('/', 1)[-1]} runs",
            hint=Hint(("rollback", name), " once more returns to the release before it"),
            cause="the deployment was over already",
        )
    deployer.require_success(end, watching, task_definition_arn=undone, reset_to=None)


def _return_to(
    deployer: Deployer,
    earlier: EarlierVersion,
    watching: WatchOptions,
    *,
    service: Service,
    resumes: str = "",
) -> Released:
    """Return the service to the earlier version; adopt a deployment that does so already."""
    session = deployer.session
    _require_usable(deployer, earlier)
    strategy = rollback_strategy(session, deployer.outputs, service)
    first_record = new_record(
        session, command="rollback", digest=earlier.digest, strategy=strategy.ecs_name, resumes=resumes
    )
    with recorded(session, first_record) as attempt:
        attempt.task_definition_arn = earlier.task_definition_arn
        try_to_keep_image(deployer, earlier.digest)
        current, is_undone = deployer.ongoing(), False
        if current is not None and _must_end_first(deployer, earlier, current, service, strategy):
            _end(deployer, current, watching)
            service, current, is_undone = deployer.service(), None, True
        if runs(service, earlier.task_definition_arn) and current is None:
            attempt.outcome = ROLLED_BACK if resumes or is_undone else UNCHANGED
            report = deployer.prove(attempt, digest=earlier.digest)
        else:
            reset_to = None if service.desired else 0
            attempt.unreachable = reachability_problem(session, deployer.outputs)
            started = _start_or_adopt(deployer, earlier, current, service=service, strategy=strategy)
            end = deployer.follow(started, watching, attempt, reset_to=reset_to, is_compared=False)
            deployer.require_success(
                end, watching, task_definition_arn=earlier.task_definition_arn, reset_to=reset_to
            )
            report = _prove(deployer, attempt, is_empty=False)
    return result(session, attempt, report)


def _must_end_first(
    deployer: Deployer,
    earlier: EarlierVersion,
    current: ServiceDeployment,
    service: Service,
    strategy: Strategy,
) -> bool:
    """Return whether the deployment under way must end before the earlier version starts.

    ECS refuses another strategy or wiring while a deployment is under way.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/update-bluegreen-to-rolling.html
    """
    if _is_adopted(deployer, earlier, current):
        return False
    order = ServiceUpdate(
        task_definition_arn=earlier.task_definition_arn,
        desired=None,
        settings=deployer.settings(service, strategy, is_tested=False),
    )
    settings = registered_order(deployer, order).settings
    before = service.configuration.get("strategy")
    after = settings.get("deploymentConfiguration", {}).get("strategy", before)
    return after != before or "loadBalancers" in settings


def _end(deployer: Deployer, current: ServiceDeployment, watching: WatchOptions) -> None:
    """Have ECS undo the deployment under way; return when it has ended, in whichever version."""
    deployer.session.report(
        "ECS rolls back the deployment that is under way first, because it cannot change the strategy or the wiring during one"
    )
    undone = deployer.task_definition_of(current)
    reset_to = 0 if deployer.replaces_only_placeholder(current) else None
    aside = Attempt(record="", digest="", revision="", started_at=deployer.session.aws.now())
    started = deployer.adopt(current.arn, task_definition_arn=undone)
    if current.status not in ROLLING_BACK:
        request_rollback(deployer, current)
    end = deployer.follow(started, watching, aside, reset_to=reset_to, is_compared=False)
    if end.outcome not in (RolloutOutcome.ROLLED_BACK, RolloutOutcome.SUCCEEDED):
        deployer.require_success(end, watching, task_definition_arn=undone, reset_to=None)


def _is_adopted(deployer: Deployer, earlier: EarlierVersion, current: ServiceDeployment) -> bool:
    is_forward = current.status not in ROLLING_BACK
    return is_forward and deployer.task_definition_of(current) == earlier.task_definition_arn


def _start_or_adopt(
    deployer: Deployer,
    earlier: EarlierVersion,
    current: ServiceDeployment | None,
    *,
    service: Service,
    strategy: Strategy,
) -> StartedRollout:
    arn = earlier.task_definition_arn
    if current is not None and _is_adopted(deployer, earlier, current):
        return deployer.adopt(current.arn, task_definition_arn=arn)
    strategy = strategy if service.desired else Strategy()
    order = ServiceUpdate(
        task_definition_arn=arn,
        desired=None if service.desired else deployer.outputs.desired_count,
        settings=deployer.settings(service, strategy, is_tested=False),
    )
    return deployer.start(order)


def _prove(deployer: Deployer, attempt: Attempt, *, is_empty: bool) -> verify.VerifyReport:
    """Prove the version that runs again. If nothing ran before, only verify: there is no version to prove."""
    attempt.outcome = ROLLED_BACK
    if not is_empty:
        return deployer.prove(attempt, digest=attempt.digest)
    deployer.session.report("the service is back at 0 tasks: nothing ran before")
    return verify_environment(deployer.session)


def _previous(deployer: Deployer, service: Service) -> EarlierVersion:
    name = deployer.session.environment.name
    looked_at = list(ledger_of(deployer.session).latest_first(most=LOOKED_BACK))
    stack = proven_releases(looked_at[::-1])
    if stack and _task_definition(stack[-1]) == service.task_definition_arn:
        stack.pop()
    if not stack:
        raise ReleaseMissingError(
            f"there is no proven release of {name} before the one that runs, among its latest {LOOKED_BACK} attempts",
            hint=Hint(("release", name, "--image", "DIGEST"), " releases another; ", _any_revision(name)),
        )
    return EarlierVersion(task_definition_arn=_task_definition(stack[-1]), digest=stack[-1].begun.digest)


def _any_revision(name: str) -> Hint:
    return Hint(("rollback", name, "--to", "TASK_DEFINITION"), " names any revision")


def _named(deployer: Deployer, to: str) -> EarlierVersion:
    """Return the latest proven release of a digest, or a task definition revision of the service's family."""
    name = deployer.session.environment.name
    if to.startswith("sha256:"):
        records = ledger_of(deployer.session).of_image(to)
        release = next((each for each in records if each.is_proven), None)
        if release is None:
            raise ReleaseMissingError(
                f"no release of {to} was proven in {name}",
                hint=Hint("release it: ", ("release", name, "--image", to), "; ", _any_revision(name)),
            )
        return EarlierVersion(task_definition_arn=_task_definition(release), digest=to)
    described = deployer.task_definition(to)
    family = deployer.outputs.task_definition_family
    if described["family"] != family:
        raise ReleaseMissingError(
            f"{to} is of the family {described['family']}, the service's is {family}",
            hint=f"name a revision of that family: {family}:REVISION",
        )
    arn = str(described["taskDefinitionArn"])
    return EarlierVersion(task_definition_arn=arn, digest=_digest(deployer, arn))


def _require_usable(deployer: Deployer, earlier: EarlierVersion) -> None:
    """Raise ReleaseMissingError if ECS could not start the earlier version."""
    name = earlier.task_definition_arn.rsplit("/", 1)[-1]
    described = deployer.task_definition(earlier.task_definition_arn)
    status = described.get("status")
    if status != "ACTIVE":
        raise ReleaseMissingError(
            f"the task definition {name} is {status}: ECS starts no tasks from it; nothing was changed",
            hint=Hint(
                "release the image again: ",
                ("release", deployer.session.environment.name, "--image", earlier.digest),
            ),
        )
    try:
        require_pushed(deployer.session, deployer.outputs, earlier.digest)
    except NoImageError as error:
        raise ReleaseMissingError(
            f"{name} cannot run again: {error.message}; nothing was changed",
            hint="the repository keeps the last proven images and the last pushes: name a later release with --to",
        ) from None
    platform = described.get("runtimePlatform")
    try:
        require_image_fits(
            deployer.session,
            deployer.outputs,
            digest=earlier.digest,
            architecture=architecture_in(platform, "cpuArchitecture"),
        )
    except ImageRefusedError as error:
        raise ReleaseMissingError(
            f"{name} cannot run again: {error.message}", hint="name another revision with --to"
        ) from None


def _digest(deployer: Deployer, task_definition: str) -> str:
    return deployer.image_of(task_definition).rpartition("@")[2]


def _task_definition(record: Record) -> str:
    return record.ended.task_definition_arn if record.ended else ""

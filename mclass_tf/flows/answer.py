"""`continue` and `abort`: answer a rollout that is under way.

Neither needs the lease: the releasing command holds it, and sees the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from mclass_tf import verify
from mclass_tf.aws import error_code, error_message
from mclass_tf.errors import (
    ConfigurationError,
    Hint,
    LeaseHeldError,
    NothingToAnswerError,
    VerificationError,
)
from mclass_tf.flows.attempt import attempts_on, ledger_of, new_record, recorded, revision_of
from mclass_tf.flows.deployer.deploy import Deployer, OnInterrupt, Show, WatchOptions
from mclass_tf.flows.deployer.messages import contradicted
from mclass_tf.flows.deployer.smoke import first_problem, smoke_test
from mclass_tf.flows.environments import applied_state
from mclass_tf.flows.release import Released, detach_on_interrupt, finish, result
from mclass_tf.flows.rollback import TAKES_NO_ANSWER, roll_back_deployment
from mclass_tf.service import ROLLING_BACK, ServiceDeployment
from mclass_tf.session import Session
from mclass_tf.strategy import SMOKE_STAGE


@dataclass(frozen=True, kw_only=True)
class Continued:
    """The rollout that was continued, and from which stage. `released` is None if its own command still watches it."""

    environment: str
    digest: str
    stage: str
    task_definition_arn: str
    service_deployment_arn: str
    released: Released | None


def continue_rollout(
    session: Session,
    *,
    skips_smoke: bool,
    show: Show,
    on_interrupt: OnInterrupt = detach_on_interrupt,
    stall_after: float | None = None,
) -> Continued:
    """Continue the paused rollout.

    If its command no longer runs, adopt the rollout and return when the new version serves. After the shift of test traffic,
    run the smoke test first unless `skips_smoke`. If ECS's record and the traffic contradict each other, the rollout is rolled
    back instead, in any case. Raises NothingToAnswerError (exit 3) if nothing is paused, VerificationError
    (7) if the smoke test fails, which leaves the rollout paused, and RolloutError or a subclass (6) of an adopted rollout.
    """
    deployer = Deployer.of(session, verify.Outputs.parse(applied_state(session).outputs))
    watching = WatchOptions(show=show, on_interrupt=on_interrupt, stall_after=stall_after)
    waiting = _waiting(deployer)
    task_definition = deployer.task_definition_of(waiting)
    digest = deployer.image_of(task_definition).rpartition("@")[2]
    _require_consistent(deployer, waiting, watching)
    if not skips_smoke:
        _require_good(deployer, waiting, digest)
    released = None
    try:
        with deployer.holding_lease(command="continue", digest=digest) as held:
            released = _take_over(held, waiting, watching, digest=digest, task_definition=task_definition)
    except LeaseHeldError:
        _answer(deployer, waiting)
    return Continued(
        environment=session.environment.name,
        digest=digest,
        stage=waiting.stage,
        task_definition_arn=task_definition,
        service_deployment_arn=waiting.arn,
        released=released,
    )


def abort(
    session: Session,
    *,
    show: Show,
    on_interrupt: OnInterrupt = detach_on_interrupt,
    stall_after: float | None = None,
) -> Released:
    """Have ECS roll back the rollout under way, and return when the old version serves again.

    Raises NothingToAnswerError (exit 3) if none is under way, RolloutError or a subclass (6) if it was not rolled back.
    """
    deployer = Deployer.of(session, verify.Outputs.parse(applied_state(session).outputs))
    current = deployer.ongoing()
    if current is None:
        raise _nothing_under_way(deployer)
    session.aws.warm()
    watching = WatchOptions(show=show, on_interrupt=on_interrupt, stall_after=stall_after)
    return roll_back_deployment(deployer, current, watching, command="abort")


def drop_stale_pauses(session: Session) -> None:
    """Remove the pauses that a dead command left: a deployment that an apply starts would wait at them, unwatched.

    A rollout under way keeps its pauses.
    """
    try:
        deployer = Deployer.of(session, verify.Outputs.parse(applied_state(session).outputs))
        if deployer.ongoing() is None:
            deployer.pauses.drop()
    except (ConfigurationError, VerificationError):
        return  # there is no service yet, or it is not ours
    except Exception as error:
        # The apply may fix the cause: a missing service, or a role without the permission.
        if not error_code(error):
            raise
        session.report(f"pauses that a release may have left could not be looked for: {error_message(error)}")


def _waiting(deployer: Deployer) -> ServiceDeployment:
    name, current = deployer.session.environment.name, deployer.ongoing()
    if current is None:
        raise _nothing_under_way(deployer)
    whole = deployer.describe_service_deployment(current)
    if whole.pauses:
        return whole
    if whole.status in ROLLING_BACK:
        is_late = any(hook.status == "TIMED_OUT" for hook in whole.hooks)
        why = "nobody answered its pause in time" if is_late else "it waits for no answer"
        raise NothingToAnswerError(
            f"the rollout in {name} is being rolled back: {why}; nothing was changed",
            hint=Hint(("status", name), " tells how far it is; release again when it is over"),
        )
    stage = (whole.stage or whole.status).lower().replace("_", " ")
    raise NothingToAnswerError(
        f"the rollout in {name} waits for no answer, it is at {stage}; nothing was changed",
        hint=Hint(("status", name), " tells how far it is; ", ("abort", name), " rolls it back"),
    )


def _nothing_under_way(deployer: Deployer) -> NothingToAnswerError:
    name = deployer.session.environment.name
    return NothingToAnswerError(
        f"no rollout is under way in {name}; nothing was changed",
        hint=Hint(
            ("history", name),
            " shows how the last one ended; ",
            ("rollback", name),
            " goes back to the release before",
        ),
    )


def _require_good(deployer: Deployer, waiting: ServiceDeployment, digest: str) -> None:
    """Raise VerificationError if the smoke test of a rollout paused for it fails.

    The releasing command may have run the test already. That is not visible here, and a second run is harmless.
    """
    if waiting.stage != SMOKE_STAGE or not deployer.pauses.is_tested:
        return
    session = deployer.session
    session.report("asking the new version by test traffic")
    results = smoke_test(session, deployer.outputs, revision=revision_of(session, digest))
    problem = first_problem(results)
    if problem:
        name = session.environment.name
        raise VerificationError(
            f"the smoke test failed: {problem}; the rollout in {name} was not continued",
            hint=Hint(
                ("abort", name),
                " rolls it back; ",
                ("continue", name, "--skip-smoke"),
                " continues it all the same",
            ),
        )


def _require_consistent(deployer: Deployer, waiting: ServiceDeployment, watching: WatchOptions) -> None:
    """Roll back and raise RolledBackError if the rollout would shift production traffic to the wrong targets."""
    contradiction = deployer.pauses.find_contradiction(waiting.arn)
    if contradiction:
        deployer.session.report(f"the rollout is rolled back: {contradiction}")
        roll_back_deployment(deployer, waiting, watching, command="abort")
        raise contradicted(contradiction, environment=deployer.session.environment.name)


def _answer(deployer: Deployer, waiting: ServiceDeployment) -> None:
    for hook in waiting.pauses:
        try:
            deployer.patience(lambda: deployer.ecs.answer_pause(waiting.arn, hook.id, goes_on=True))  # noqa: B023  # called at once
        except Exception as error:
            if error_code(error) not in TAKES_NO_ANSWER:
                raise
            name = deployer.session.environment.name
            raise NothingToAnswerError(
                f"ECS takes no answer any more in {name}: somebody was there before, or its time is over",
                hint=Hint(("status", name), " tells how far it is"),
            ) from None


def _take_over(
    deployer: Deployer,
    waiting: ServiceDeployment,
    watching: WatchOptions,
    *,
    digest: str,
    task_definition: str,
) -> Released:
    """Answer the pause, then watch, prove and record the rollout in place of its dead command."""
    session = deployer.session
    session.aws.warm()
    last = next(iter(attempts_on(session, waiting.arn)), None)
    first_record = new_record(
        session,
        command="continue",
        digest=digest,
        promoted_from=last.begun.promoted_from if last else None,
        strategy=waiting.strategy,
        resumes=ledger_of(session).url(last.name) if last and last.ended is None else "",
    )
    with recorded(session, first_record) as attempt:
        started = deployer.adopt(waiting.arn, task_definition_arn=task_definition)
        _answer(deployer, waiting)
        session.report("the command that started it is gone: watching the rollout instead")
        reset_to = 0 if deployer.replaces_only_placeholder(waiting) else None
        report = finish(deployer, started, watching, attempt, reset_to=reset_to)
    return result(session, attempt, report)

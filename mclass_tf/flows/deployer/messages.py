"""The messages of a rollout: the errors of its ends, and its pauses."""

from __future__ import annotations

import datetime as dt

from mclass_tf.errors import (
    AnalysisFailedError,
    Hint,
    InterruptedByUserError,
    RolledBackError,
    RolloutError,
    RolloutStoppedError,
    ServesWorseError,
    StalledError,
    SupersededError,
)
from mclass_tf.rollout import FailureCause, RolloutOutcome
from mclass_tf.service import HookState

_MINUTE = 60.0


def unsuccessful(
    outcome: RolloutOutcome, cause: FailureCause, *, environment: str, stall_after: float
) -> RolloutError:
    """Return the error of an unsuccessful end, except for a superseded rollout."""
    name, why = environment, cause.sentence
    match outcome:
        case RolloutOutcome.ROLLED_BACK:
            return RolledBackError(
                f"the release to {name} failed; ECS rolled it back: {why}", hint=cause.hint, cause=why
            )
        case RolloutOutcome.ROLLBACK_FAILED:
            return RolledBackError(
                f"ECS could not go back to what ran before in {name}: {why}",
                hint=Hint(
                    ("rollback", name, "--to", "TASK_DEFINITION"), " names what is to run. ", cause.hint
                ),
                cause=why,
            )
        case RolloutOutcome.STALLED:
            return StalledError(
                f"nothing has moved in {name} for {stall_after:g} s: {why}",
                hint=Hint(
                    "ECS goes on: ",
                    ("status", name),
                    "; ",
                    ("rollback", name),
                    " rolls it back. ",
                    cause.hint,
                ),
                cause=f"nothing has moved for {stall_after:g} s: {why}",
            )
        case _:
            return RolloutStoppedError(
                f"the deployment in {name} was stopped: {why}",
                hint=Hint(
                    ("status", name), " shows what runs; ", ("rollback", name), " rolls it back. ", cause.hint
                ),
                cause=why,
            )


def smoke_test_failed(problem: str, *, environment: str, log_group: str) -> RolledBackError:
    cause = f"the smoke test failed: {problem}"
    return RolledBackError(
        f"the release to {environment} failed; ECS rolled it back: {cause}; production traffic was not shifted",
        hint=_log_hint(log_group),
        cause=cause,
    )


def contradicted(contradiction: str, *, environment: str) -> RolledBackError:
    """Return the error of a rollout that was rolled back because ECS's record and the traffic contradicted each other."""
    return RolledBackError(
        f"the release to {environment} failed; it was rolled back: {contradiction}; production traffic was not shifted",
        hint=Hint(
            "somebody else has changed the load balancers of the service, or the weights of its rules: ",
            ("verify", environment),
            " compares them with the outputs; release again after that",
        ),
        cause=contradiction,
    )


def analysis_failed(failure: str, *, environment: str, log_group: str) -> AnalysisFailedError:
    cause = f"the new version was worse than the old one: {failure}"
    return AnalysisFailedError(
        f"the release to {environment} failed; ECS rolled it back: {cause}",
        hint=f"{_log_hint(log_group)}; what is allowed stands in [release.analysis] of environment.toml",
        cause=cause,
    )


def serves_worse(cause: str, *, environment: str) -> ServesWorseError:
    return ServesWorseError(
        f"the new version serves in {environment}, because ECS no longer rolled it back, but {cause}",
        hint=Hint(
            ("rollback", environment),
            " returns to the release before it; from there it may be released, and compared, again",
        ),
        cause=cause,
    )


def superseded(by: str, *, environment: str, inherited_pause: Hint) -> SupersededError:
    """Return the error of a rollout that the task definition `by` superseded."""
    cause = f"{by.rsplit('/', 1)[-1]} was deployed meanwhile"
    return SupersededError(
        f"somebody else's deployment has taken the place of this one in {environment}: {cause}",
        hint=Hint(
            ("status", environment),
            " shows what runs; ask who released, and release again if need be",
            inherited_pause,
        ),
        cause=cause,
    )


def inherited_pause(environment: str) -> Hint:
    """Return the hint on somebody else's deployment that started while our pauses were configured."""
    return Hint(
        "; it has the pause of the interrupted release, where ECS rolls it back in the end: ",
        ("continue", environment),
        " lets it go on",
    )


def detached(environment: str) -> InterruptedByUserError:
    return InterruptedByUserError(
        f"interrupted; ECS goes on with the rollout in {environment} by itself",
        hint=Hint(
            ("status", environment),
            " follows it, ",
            ("rollback", environment),
            " rolls it back; the same release again adopts it",
        ),
    )


def paused(environment: str, stage: str, hook: HookState) -> str:
    """Return the message of a deployment that waits for the user's answer."""
    name = stage.lower().replace("_", " ")
    answers = f"paused at {name}: `continue {environment}` goes on, `abort {environment}` rolls it back"
    if hook.expires_at is None:
        return answers
    left = max(0.0, (hook.expires_at - dt.datetime.now(dt.UTC)).total_seconds())
    minutes = round(left / _MINUTE)
    within = f"{minutes} min" if minutes else f"{left:.0f} s"
    return f"{answers}; ECS {'rolls it back' if hook.rolls_back else 'goes on'} by itself in {within}"


def _log_hint(log_group: str) -> str:
    return f"the log of the tasks may say more: aws logs tail {log_group} --since 1h"

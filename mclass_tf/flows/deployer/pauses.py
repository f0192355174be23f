"""The pauses that a release adds to a service: who answers them, and how they are removed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from mclass_tf import rollout, verify
from mclass_tf.aws import error_code, error_message
from mclass_tf.errors import Hint, LeaseLostError, MclassError, RolloutError
from mclass_tf.flows.attempt import Attempt, requested_pauses
from mclass_tf.flows.deployer.consistency import find_contradiction
from mclass_tf.flows.deployer.messages import inherited_pause, paused
from mclass_tf.flows.deployer.smoke import first_problem, is_reachable, run_smoke_test
from mclass_tf.rollout import Patience, RolloutEnd, RolloutOutcome, StartedRollout
from mclass_tf.service import Ecs, HookState
from mclass_tf.session import Session
from mclass_tf.strategy import PAUSE_STAGES, SMOKE_STAGE, Strategy, has_pauses, without_pauses


@dataclass(frozen=True, kw_only=True)
class Pauses:
    """The pauses of the service. This class answers the one of the smoke test, the user answers the others."""

    session: Session
    outputs: verify.Outputs
    ecs: Ecs
    patience: Patience

    @property
    def is_tested(self) -> bool:
        """Whether new versions get a smoke test, and this machine can reach the load balancer."""
        return self._has_smoke_test and is_reachable(self.session, self.outputs)

    @property
    def _has_smoke_test(self) -> bool:
        return self.session.environment.release.smoke != ()

    def stages(self, strategy: Strategy, pause_at: Collection[str], *, is_tested: bool) -> list[str]:
        """Return the stages at which ECS must pause, in its order: the user's, and that of the smoke test."""
        stages = set(pause_at)
        if is_tested and strategy.shifts and self._has_smoke_test:
            if is_reachable(self.session, self.outputs):
                stages.add(SMOKE_STAGE)
            else:
                self.session.report(
                    "the load balancer is internal and does not answer this machine: the new version is not tested before it "
                    "gets traffic"
                )
        return [stage for stage in PAUSE_STAGES if stage in stages]

    def stages_under_way(self) -> tuple[str, ...] | None:
        """Return the stages at which the service deployment under way pauses; None if the service is at rest."""
        current = self.patience(lambda: rollout.ongoing(self.ecs))
        if current is None:
            return None
        return self.patience(lambda: self.ecs.service_deployment(current.arn)).pause_stages

    def user_stages(self, pause_at: Collection[str], started: StartedRollout) -> set[str]:
        """Return the stages at which the rollout waits for the user, including those of the attempts that it adopts."""
        stages = set(pause_at)
        if started.is_adopted:
            arn = started.service_deployment_arn
            stages |= self.patience(lambda: requested_pauses(self.session, arn))
        return stages

    def answer(
        self, attempt: Attempt, user_stages: Callable[[], Collection[str]], stage: str, hook: HookState
    ) -> bool | None:
        """Answer the pause of the smoke test by its result. Return None for a pause that the user must answer.

        A contradiction between ECS's record and the traffic rolls back first: the test could not tell the versions apart.
        """
        if stage == SMOKE_STAGE:
            is_users = stage in user_stages()
            if self._has_smoke_test and (not is_users or self.is_tested):
                attempt.contradiction = self._contradiction_or_error(attempt.service_deployment_arn)
                if attempt.contradiction:
                    self.session.report(f"production traffic is not shifted: {attempt.contradiction}")
                    return False
                attempt.smoke = run_smoke_test(self.session, self.outputs, revision=attempt.revision)
                if first_problem(attempt.smoke):
                    return False
                if not is_users:
                    return True
        self.session.report(paused(self.session.environment.name, stage, hook))
        return None

    def _contradiction_or_error(self, arn: str) -> str:
        """Return the contradiction. Any error counts as one, as in a smoke test: otherwise ECS would wait for an hour."""
        try:
            return self.find_contradiction(arn)
        except LeaseLostError:
            raise
        except MclassError as error:
            return f"the target groups of the versions could not be compared: {error.message}"

    def find_contradiction(self, arn: str) -> str:
        """Return what contradicts a shift of production traffic by a service deployment, "" if nothing does."""
        deployment = self.patience(lambda: self.ecs.service_deployment(arn))
        return find_contradiction(self.session, self.outputs, self.ecs, deployment, patience=self.patience)

    def drop(self) -> None:
        """Remove our pauses from the service: an unwatched deployment would wait at them."""
        service = self.patience(self.ecs.service)
        if has_pauses(service.configuration):
            settings = {"deploymentConfiguration": without_pauses(service.configuration)}
            self.patience(lambda: self.ecs.update(task_definition=None, desired=None, settings=settings))

    def drop_after(self, end: RolloutEnd) -> None:
        """Remove our pauses. A failure is a warning: the rollout has ended, and the next apply or release removes them.

        A lost lease ends a release that succeeded, and does not hide the error of one that failed.
        """
        try:
            self.drop()
        except LeaseLostError as lost:
            if end.outcome is RolloutOutcome.SUCCEEDED:
                raise
            self._warn_of_pauses(lost.message)
        except RolloutError as error:
            self._warn_of_pauses(error.message)
        except Exception as error:
            if not error_code(error):
                raise
            self._warn_of_pauses(error_message(error))

    def _warn_of_pauses(self, problem: str) -> None:
        name = self.session.environment.name
        self.session.report(
            f"warning: the pauses of this release stay in the service: {problem}. The next `apply {name}` or "
            f"`release {name}` removes them; a deployment that anything else starts waits at them"
        )

    def inherited(self) -> Hint:
        """Return the hint on somebody else's deployment that inherits our pauses; empty if none are configured."""
        service = self.patience(self.ecs.service)
        return inherited_pause(self.session.environment.name) if has_pauses(service.configuration) else Hint()

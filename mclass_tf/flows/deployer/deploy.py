"""Brings one task definition into service: started or taken up, followed to its end, proven."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mclass_tf import analysis, rollout, verify
from mclass_tf.errors import (
    AnalysisFailedError,
    InterruptedByUserError,
    LeaseLostError,
    MclassError,
    RolledBackError,
    RolloutError,
    RolloutStoppedError,
    ServesWorseError,
    StalledError,
    SupersededError,
)
from mclass_tf.flows.attempt import Attempt, alone, pauses_asked_for
from mclass_tf.flows.deployer.analysis import Analyst, analyst_of, pace_of, traffic_since
from mclass_tf.flows.deployer.smoke import can_be_asked, require_answers, smoke_test
from mclass_tf.flows.deployer.wiring import order_settings, wiring_settings
from mclass_tf.flows.environments import verify_environment
from mclass_tf.ledger import ROLLING_OUT, VERIFYING, Smoke
from mclass_tf.rollout import Choice, End, Order, Outcome, Patience, Started, View, Watch
from mclass_tf.service import Ecs, HookState, Service, ServiceDeployment
from mclass_tf.session import Session
from mclass_tf.strategy import PAUSE_STAGES, SMOKE_STAGE, Strategy, has_pauses, without_pauses
from mclass_tf.system.process import deferred_interrupts

Show = Callable[[View], None]
"""Takes every change of a rollout."""

OnInterrupt = Callable[[], Choice]
"""Asks what an interrupt means; called once for each. A further one while it asks means LEAVE."""

# Starting an image, and what ECS itself takes for a step, on top of the service's own grace period.
_STALL_SECONDS = 900.0
_MINUTE = 60.0


@dataclass(frozen=True, kw_only=True)
class Watching:
    """How a rollout is watched. `stall_after` None takes the environment's, or goes by the service's own times.

    `pause_at` are the stages at which it waits for its user's answer.
    """

    show: Show
    on_interrupt: OnInterrupt
    stall_after: float | None
    pause_at: tuple[str, ...] = ()


def _unheld() -> None:
    """Stand for the lease of who holds none."""


@dataclass(frozen=True, kw_only=True)
class Deployer:
    """The service of one environment, and what was applied there. `lease` raises LeaseLostError where one was held and is lost."""

    session: Session
    outputs: verify.Outputs
    ecs: Ecs
    patience: Patience
    lease: Callable[[], None] = _unheld

    @classmethod
    def of(cls, session: Session, outputs: verify.Outputs) -> Deployer:
        return cls(
            session=session,
            outputs=outputs,
            ecs=Ecs(
                session.aws,
                cluster=outputs.cluster_name,
                name=outputs.service_name,
                environment=session.environment.name,
            ),
            patience=Patience(tell=session.report),
        )

    @contextmanager
    def alone(self, *, command: str, digest: str) -> Iterator[Deployer]:
        """Keep others off the service meanwhile; yield a deployer that changes nothing any more once the lease is lost.

        Raise LeaseHeldError where somebody is at work there. What changes something raises LeaseLostError where it was lost.
        """
        with alone(self.session, command=command, digest=digest) as held:
            yield replace(self, ecs=self.ecs.guarded(held.require), lease=held.require)

    def with_outputs(self, outputs: verify.Outputs) -> Deployer:
        """Return the deployer of what was applied since, under the same lease."""
        anew = Deployer.of(self.session, outputs)
        return replace(anew, ecs=anew.ecs.guarded(self.lease), lease=self.lease)

    def require_lease(self) -> None:
        """Raise LeaseLostError where the lease that this deployer works under is lost, before what ECS is not asked for."""
        self.patience(self.lease)

    def service(self) -> Service:
        return self.patience(self.ecs.service)

    def ongoing(self) -> ServiceDeployment | None:
        """Return the service deployment that is not over, None where the service is at rest."""
        return self.patience(lambda: rollout.ongoing(self.ecs))

    def pause_stages(self) -> tuple[str, ...] | None:
        """Return the stages at which the service deployment that is under way waits; None where the service is at rest."""
        current = self.ongoing()
        return None if current is None else self.whole(current).pause_stages

    def whole(self, deployment: ServiceDeployment) -> ServiceDeployment:
        """Return a service deployment with all its fields, which a listed one has not."""
        return self.patience(lambda: self.ecs.service_deployment(deployment.arn))

    def task_definition_of(self, deployment: ServiceDeployment) -> str:
        """Return what a service deployment brings into service."""
        return self.patience(lambda: self.ecs.revision_task_definition(deployment.target_revision_arn))

    def came_from_nothing(self, deployment: ServiceDeployment) -> bool:
        """Tell whether all that ran before is what stands for an image until there is one, and cannot start."""
        sources = self.sources_of(deployment)
        return all(self.image_of(source).endswith(verify.PLACEHOLDER) for source in sources)

    def sources_of(self, deployment: ServiceDeployment) -> tuple[str, ...]:
        """Return the task definitions that ran when a service deployment began."""
        sources = self.whole(deployment).source_revision_arns
        return tuple(self.patience(partial(self.ecs.revision_task_definition, arn)) for arn in sources)

    def task_definition(self, name: str) -> Mapping[str, Any]:
        """Return a task definition as ECS describes it."""
        return self.patience(lambda: self.ecs.task_definition(name))

    def image_of(self, task_definition: str) -> str:
        """Return the reference of the service's image in a task definition."""
        containers = self.task_definition(task_definition)["containerDefinitions"]
        return next(
            (str(own["image"]) for own in containers if own["name"] == self.outputs.container_name), ""
        )

    def start(self, order: Order) -> Started:
        return rollout.start(self.ecs, order, patience=self.patience)

    def settings(
        self, service: Service, strategy: Strategy, *, is_tested: bool, pause_at: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return what UpdateService is told of a strategy; `is_tested`: the new version is asked before it gets traffic."""
        pauses = set(pause_at)
        if is_tested and strategy.shifts and self.session.environment.release.smoke != ():
            if can_be_asked(self.session, self.outputs):
                pauses.add(SMOKE_STAGE)
            else:
                self.session.report(
                    "the load balancer is internal: the new version is not tested before it gets traffic"
                )
        ordered = [stage for stage in PAUSE_STAGES if stage in pauses]
        return order_settings(self.session, self.outputs, service, strategy, pauses=ordered)

    def wire(self, service: Service, watching: Watching, attempt: Attempt) -> None:
        """Tell the service of both target groups, by a rolling deployment of what it runs, as ECS wants it done first."""
        self.session.report(
            "telling the service of both target groups: a rolling deployment of what runs, this once"
        )
        order = Order(
            task_definition_arn=service.task_definition_arn,
            desired=None,
            settings=wiring_settings(self.session, self.outputs, service),
        )
        end = self.follow(self.start(order), watching, attempt, back_to=None)
        self.require_success(end, watching, task_definition_arn=service.task_definition_arn, back_to=None)

    def drop_pauses(self) -> None:
        """Take our pauses out of the service: a deployment that nobody watches would wait for an answer."""
        service = self.service()
        if has_pauses(service.configuration):
            settings = {"deploymentConfiguration": without_pauses(service.configuration)}
            self.patience(lambda: self.ecs.update(task_definition=None, desired=None, settings=settings))

    def _on_pause(
        self, attempt: Attempt, pause_at: Callable[[], tuple[str, ...]], stage: str, hook: HookState
    ) -> bool | None:
        """Test the new version where it is to be tested, and leave to others the pauses that are not the test's alone."""
        if stage == SMOKE_STAGE:
            is_asked = stage in pause_at()
            if self.session.environment.release.smoke != () and (not is_asked or self.is_tested):
                self._test(attempt)
                if _problem(attempt):
                    return False
                if not is_asked:
                    return True
        self.session.report(paused(self.session.environment.name, stage, hook))
        return None

    @property
    def is_tested(self) -> bool:
        """Tell whether a new version is asked on the test listener before it gets traffic, and can be."""
        is_on = self.session.environment.release.smoke != ()
        return is_on and can_be_asked(self.session, self.outputs)

    def _pauses(self, watching: Watching, started: Started) -> tuple[str, ...]:
        """Return the stages at which the rollout is to wait for its user: whoever takes it up does not undo what was asked for."""
        asked = set(watching.pause_at)
        if started.is_taken_up:
            arn = started.service_deployment_arn
            asked |= self.patience(lambda: pauses_asked_for(self.session, arn))
        return tuple(asked)

    def _test(self, attempt: Attempt) -> None:
        session = self.session
        session.report("asking the new version on the test listener")
        try:
            attempt.smoke = smoke_test(session, self.outputs, revision=attempt.revision)
        except MclassError as error:  # no answer would leave ECS waiting for an hour
            attempt.smoke = (Smoke(path=session.environment.release.version_path, problem=error.message),)
        problem = _problem(attempt)
        session.report(
            f"smoke test failed: {problem}" if problem else "the new version answers: production may shift"
        )

    def _on_look(
        self, attempt: Attempt, watch: Watch, analyst: Analyst, deployment: ServiceDeployment
    ) -> bool:
        """Note how far it is, and how the versions compare; tell whether it is to be taken back."""
        attempt.note_stage(deployment)
        before = attempt.analysis
        is_worse = analyst.look(deployment)
        attempt.analysis, watch.analysis = analyst.found, analyst.words
        if is_worse and before != analyst.found:
            self.session.report(f"the new version is worse, ECS is told to roll back: {_failure(attempt)}")
        return is_worse

    def take_up(self, arn: str, *, task_definition_arn: str) -> Started:
        """Return a service deployment that is under way already as if it had been started here."""
        seen = frozenset(event.id for event in self.service().events)
        return Started(
            service_deployment_arn=arn,
            task_definition_arn=task_definition_arn,
            seen=seen,
            at=time.monotonic(),
            is_taken_up=True,
        )

    def follow(
        self,
        started: Started,
        watching: Watching,
        attempt: Attempt,
        *,
        back_to: int | None,
        is_compared: bool = True,
    ) -> End:
        """Return the end of the rollout, whichever; raise InterruptedByUserError where it is left to ECS.

        `is_compared`: where ECS shifts traffic, the new version is taken back when it does worse than the old one.
        """
        attempt.task_definition_arn = started.task_definition_arn
        attempt.service_deployment_arn = started.service_deployment_arn
        attempt.reach(
            ROLLING_OUT,
            service_deployment=started.service_deployment_arn,
            task_definition=started.task_definition_arn,
        )
        pace = pace_of(self.session.cloud)
        watch = Watch(self.ecs, started, stall_after=self._stall_after(watching), speed=pace.speed)
        analyst = analyst_of(self.session, self.outputs, self.ecs, pace=pace, is_on=is_compared)
        began = self.session.aws.now()
        try:
            with deferred_interrupts() as interruption:
                end = rollout.follow(
                    watch,
                    self.ecs,
                    show=watching.show,
                    interruption=interruption,
                    on_interrupt=watching.on_interrupt,
                    patience=self.patience,
                    back_to=back_to,
                    on_pause=partial(self._on_pause, attempt, partial(self._pauses, watching, started)),
                    on_look=partial(self._on_look, attempt, watch, analyst),
                )
        except KeyboardInterrupt:
            end = None  # a second one, while the first was asked about
        finally:
            attempt.events = tuple(watch.events)
            attempt.traffic = traffic_since(self.session, self.outputs, began, pace=pace)
        if end is None:
            raise self._left()
        if end.outcome not in (Outcome.STALLED, Outcome.SUPERSEDED):
            self._drop_pauses_after(end)
        return end

    def _drop_pauses_after(self, end: End) -> None:
        """Take our pauses out; where the lease is lost by then, why a rollout failed matters more."""
        try:
            self.drop_pauses()
        except LeaseLostError as lost:
            if end.outcome is Outcome.SUCCEEDED:
                raise
            self.session.report(f"the pauses of this release stay in the service: {lost.message}")

    def require_success(
        self,
        end: End,
        watching: Watching,
        *,
        task_definition_arn: str,
        back_to: int | None,
        attempt: Attempt | None = None,
    ) -> None:
        """Raise the error that tells why the rollout did not succeed, with the service put back to `back_to` tasks.

        `attempt` tells what the smoke test, or the comparison under traffic, has found, which is the cause then.
        """
        failure = _failure(attempt) if attempt is not None else ""
        if end.outcome is Outcome.SUCCEEDED:
            if failure:
                raise self.serves_worse(f"the new version is worse than the old one: {failure}")
            return
        problem = _problem(attempt) if attempt is not None else ""
        if problem and end.outcome is Outcome.ROLLED_BACK:
            cause = f"the smoke test failed: {problem}"
            raise RolledBackError(
                f"the release to {self.session.environment.name} failed; ECS rolled it back: {cause}; "
                "production traffic was not shifted",
                hint=f"the log of the tasks may say more: aws logs tail {self.outputs.log_group_name} --since 1h",
                cause=cause,
            )
        if failure and end.outcome is Outcome.ROLLED_BACK:
            raise self._analysis_failed(failure)
        error = self._explained(end, self._stall_after(watching), task_definition_arn)
        if back_to is not None and end.outcome is not Outcome.SUPERSEDED:
            raise self._put_back(error, back_to)
        raise error

    def _put_back(self, error: RolloutError, count: int) -> RolloutError:
        """Set the service back to a number of tasks; return the error with what became of that."""
        told = f"the service is back at {count} tasks"
        try:
            self.patience(lambda: self.ecs.update(task_definition=None, desired=count))
        except LeaseLostError as lost:
            told = f"the service was not set back to {count} tasks: {lost.message}"
        return type(error)(f"{error.message}; {told}", hint=error.hint, cause=error.cause)

    def prove(self, attempt: Attempt, *, digest: str) -> verify.VerifyReport:
        """Make sure that the released revision alone serves, and that the environment is as its outputs say."""
        session = self.session
        attempt.reach(VERIFYING)
        session.report("asking the load balancer which revision answers")
        tasks = rollout.require_alone(
            self.ecs,
            task_definition_arn=attempt.task_definition_arn,
            container=self.outputs.container_name,
            digest=digest,
            patience=self.patience,
        )
        require_answers(session, self.outputs, tasks=tasks, revision=attempt.revision)
        session.report("verifying")
        report = verify_environment(session)
        attempt.is_verified = report.ok
        return report

    def set_scaling_minimum(self) -> None:
        """Register the minimum of the outputs, which Terraform leaves to the first release (docs/adr/0006)."""
        bounds = self.outputs.autoscaling
        if bounds is None or bounds.get("min") is None:
            return
        minimum = int(bounds["min"] or 0)
        resource = f"service/{self.outputs.cluster_name}/{self.outputs.service_name}"
        scaling = self.session.aws.autoscaling
        found = scaling.describe_scalable_targets(
            ServiceNamespace="ecs", ResourceIds=[resource], ScalableDimension="ecs:service:DesiredCount"
        )["ScalableTargets"]
        if [target["MinCapacity"] for target in found] != [minimum]:
            self.require_lease()
            self.session.report(f"autoscaling minimum is now {minimum}")
            scaling.register_scalable_target(
                ServiceNamespace="ecs",
                ResourceId=resource,
                ScalableDimension="ecs:service:DesiredCount",
                MinCapacity=minimum,
            )

    def _stall_after(self, watching: Watching) -> float:
        settings = self.session.environment.release
        chosen = watching.stall_after or settings.stall_after
        # What ECS waits on purpose is no stall.
        waiting = settings.strategy.longest_wait * _MINUTE
        return (chosen or _STALL_SECONDS + self.service().grace_period) + waiting

    def _explained(self, end: End, stall_after: float, task_definition_arn: str) -> RolloutError:
        name, last = self.session.environment.name, end.last
        stopped = [
            task
            for task in self.patience(lambda: self.ecs.tasks(stopped=True))
            if task.task_definition_arn == task_definition_arn
        ]
        cause = rollout.explain(
            stopped=stopped,
            deployment=last.deployment,
            primary=last.service.primary,
            events=last.service.events,
            environment=name,
            log_group=self.outputs.log_group_name,
        )
        match end.outcome:
            case Outcome.ROLLED_BACK:
                return RolledBackError(
                    f"the release to {name} failed; ECS rolled it back: {cause.sentence}",
                    hint=cause.hint,
                    cause=cause.sentence,
                )
            case Outcome.ROLLBACK_FAILED:
                return RolledBackError(
                    f"ECS could not go back to what ran before in {name}: {cause.sentence}",
                    hint=f"`rollback {name} --to TASK_DEFINITION` names what is to run. {cause.hint}",
                    cause=cause.sentence,
                )
            case Outcome.SUPERSEDED:
                return self._superseded(end)
            case Outcome.STALLED:
                return StalledError(
                    f"nothing has moved in {name} for {stall_after:g} s: {cause.sentence}",
                    hint=f"ECS goes on: `status {name}`; `rollback {name}` takes it back. {cause.hint}",
                    cause=f"nothing has moved for {stall_after:g} s: {cause.sentence}",
                )
            case _:
                return RolloutStoppedError(
                    f"the deployment in {name} was stopped: {cause.sentence}",
                    hint=f"`status {name}` shows what runs; `rollback {name}` takes it back. {cause.hint}",
                    cause=cause.sentence,
                )

    def _analysis_failed(self, failure: str) -> AnalysisFailedError:
        cause = f"the new version was worse than the old one: {failure}"
        return AnalysisFailedError(
            f"the release to {self.session.environment.name} failed; ECS rolled it back: {cause}",
            hint=f"the log of the tasks may say more: aws logs tail {self.outputs.log_group_name} --since 1h; "
            "what is allowed stands in [release.analysis] of environment.toml",
            cause=cause,
        )

    def serves_worse(self, cause: str) -> ServesWorseError:
        name = self.session.environment.name
        return ServesWorseError(
            f"what was to run in {name} serves there, since ECS did not take it back any more, but {cause}",
            hint=f"`rollback {name}` returns to the release before it; from there it may be released, and compared, again",
            cause=cause,
        )

    def _superseded(self, end: End) -> RolloutError:
        by = end.by
        revision = "" if by is None else by.target_revision_arn
        what = "another deployment" if by is None or not revision else self.task_definition_of(by)
        cause = f"{what.rsplit('/', 1)[-1]} was deployed meanwhile"
        name = self.session.environment.name
        return SupersededError(
            f"somebody else's deployment has taken the place of this one in {name}: {cause}",
            hint=f"`status {name}` shows what runs; ask who released, and release again if need be{self.inherited_pause()}",
            cause=cause,
        )

    def inherited_pause(self) -> str:
        """Return what to know of a deployment of others that began while our pauses were in the service; "" without any."""
        if not has_pauses(self.service().configuration):
            return ""
        return (
            "; it has the pause of the interrupted release, where ECS takes it back in the end: "
            f"`continue {self.session.environment.name}` lets it go on"
        )

    def _left(self) -> InterruptedByUserError:
        name = self.session.environment.name
        return InterruptedByUserError(
            f"interrupted; ECS goes on with the rollout in {name} by itself",
            hint=f"`status {name}` follows it, `rollback {name}` takes it back; the same release again takes it up",
        )


def paused(environment: str, stage: str, hook: HookState) -> str:
    """Return what is told of a deployment that waits for an answer of its user."""
    name = stage.lower().replace("_", " ")
    told = f"paused at {name}: `continue {environment}` goes on, `abort {environment}` takes it back"
    if hook.expires_at is None:
        return told
    left = max(0.0, (hook.expires_at - dt.datetime.now(dt.UTC)).total_seconds())
    minutes = round(left / _MINUTE)
    within = f"{minutes} min" if minutes else f"{left:.0f} s"
    return f"{told}; ECS {'takes it back' if hook.rolls_back else 'goes on'} by itself in {within}"


def _problem(attempt: Attempt) -> str:
    """Return what the smoke test found, "" where it found nothing or was not made."""
    return next((each.problem for each in attempt.smoke if each.problem), "")


def _failure(attempt: Attempt) -> str:
    """Return by what the new version was worse than the old one, "" where it was not, or they were not compared."""
    found = attempt.analysis
    return found.reason if found is not None and found.verdict == analysis.FAILED else ""

"""Brings one task definition into service: starts or adopts a rollout, follows it to its end, and proves it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mclass_tf import rollout, verify
from mclass_tf.errors import LeaseLostError, RevisionGoneError, RolloutError
from mclass_tf.flows.attempt import Attempt, holding_lease
from mclass_tf.flows.deployer import messages
from mclass_tf.flows.deployer.analysis import Analyst, analyst_of, failure_of, pace_of, traffic_since
from mclass_tf.flows.deployer.pauses import Pauses
from mclass_tf.flows.deployer.registration import ContainerPort, registered
from mclass_tf.flows.deployer.settling import settling_seconds, verify_environment
from mclass_tf.flows.deployer.smoke import first_problem, require_answers
from mclass_tf.flows.deployer.wiring import (
    is_wired,
    order_settings,
    resolved_target_group,
    target_group_in_use,
    wiring_settings,
)
from mclass_tf.ledger import ROLLING_OUT, VERIFYING
from mclass_tf.rollout import BeforeUpdate, Choice, Patience, RolloutEnd, RolloutOutcome, StartedRollout, View
from mclass_tf.service import Ecs, Service, ServiceDeployment, Task, serving_container
from mclass_tf.session import Session
from mclass_tf.strategy import Strategy
from mclass_tf.system.process import deferred_interrupts

Show = Callable[[View], None]
"""Shows each change of a rollout."""

OnInterrupt = Callable[[], Choice]
"""Asks the user what to do; called once per interrupt. A second interrupt while it asks means DETACH."""

# Time to start an image, and for ECS to take a step. The service's own grace period is added.
_STALL_SECONDS = 900.0
_MINUTE = 60.0


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """How a rollout is watched. `stall_after` None uses the environment's setting, or else the service's grace period.

    `pause_at` are the stages at which the rollout waits for the user's answer.
    """

    show: Show
    on_interrupt: OnInterrupt
    stall_after: float | None
    pause_at: tuple[str, ...] = ()


def _no_lease() -> None:
    """Stand in for a lease where none is held."""


@dataclass(frozen=True, kw_only=True)
class Deployer:
    """The service of one environment, and the applied outputs.

    `lease` raises LeaseLostError if a held lease is lost. `before_update` is called just before UpdateService starts a release.
    """

    session: Session
    outputs: verify.Outputs
    ecs: Ecs
    patience: Patience
    lease: Callable[[], None] = _no_lease
    before_update: BeforeUpdate = dict

    @classmethod
    def of(cls, session: Session, outputs: verify.Outputs, *, before_update: BeforeUpdate = dict) -> Deployer:
        return cls(
            session=session,
            outputs=outputs,
            ecs=Ecs(
                session.aws,
                cluster=outputs.cluster_name,
                name=outputs.service_name,
                environment=session.environment.name,
            ),
            patience=Patience(report=session.report),
            before_update=before_update,
        )

    @contextmanager
    def holding_lease(self, *, command: str, digest: str) -> Iterator[Deployer]:
        """Hold the lease of the environment; yield a deployer that makes no change once the lease is lost.

        Raises LeaseHeldError if another command holds it. The yielded deployer's changes raise LeaseLostError once it is lost.
        """
        with holding_lease(self.session, command=command, digest=digest) as held:
            yield replace(self, ecs=self.ecs.guarded(held.require), lease=held.require)

    def with_outputs(self, outputs: verify.Outputs) -> Deployer:
        """Return a deployer of newer outputs, under the same lease."""
        anew = Deployer.of(self.session, outputs, before_update=self.before_update)
        return replace(anew, ecs=anew.ecs.guarded(self.lease), lease=self.lease)

    def require_lease(self) -> None:
        """Raise LeaseLostError if the lease is lost. Needed before changes that do not go through `ecs`."""
        self.patience(self.lease)

    @property
    def pauses(self) -> Pauses:
        return Pauses(session=self.session, outputs=self.outputs, ecs=self.ecs, patience=self.patience)

    def service(self) -> Service:
        return self.patience(self.ecs.service)

    def ongoing(self) -> ServiceDeployment | None:
        """Return the service deployment under way, None if the service is at rest."""
        return self.patience(lambda: rollout.ongoing(self.ecs))

    def describe_service_deployment(self, deployment: ServiceDeployment) -> ServiceDeployment:
        """Return a service deployment with all its fields; a listed one lacks some."""
        return self.patience(lambda: self.ecs.service_deployment(deployment.arn))

    def task_definition_of(self, deployment: ServiceDeployment) -> str:
        """Return the task definition that a service deployment brings into service."""
        return self.patience(lambda: self.ecs.revision_task_definition(deployment.target_revision_arn))

    def replaces_only_placeholder(self, deployment: ServiceDeployment) -> bool:
        """Return whether only the placeholder image is known to have run before, which cannot start.

        If ECS does not say what ran, something may have: a service must not be scaled to 0 on that ground.
        """
        images = [self.image_of(source) for source in self.sources_of(deployment)]
        return bool(images) and all(image.endswith(verify.PLACEHOLDER) for image in images)

    def sources_of(self, deployment: ServiceDeployment) -> tuple[str, ...]:
        """Return the task definitions that ran when a service deployment began; none if ECS does not say.

        Nor if it no longer has one of them, since a part could be taken for the whole.
        """
        sources = self.describe_service_deployment(deployment).source_revision_arns
        try:
            return tuple(self.patience(partial(self.ecs.revision_task_definition, arn)) for arn in sources)
        except RevisionGoneError:
            return ()

    def task_definition(self, name: str) -> Mapping[str, Any]:
        return self.patience(lambda: self.ecs.task_definition(name))

    def image_of(self, task_definition: str) -> str:
        """Return the reference of the service's image in a task definition."""
        container = serving_container(self.task_definition(task_definition), self.outputs.container_name)
        return "" if container is None else str(container.get("image") or "")

    def start(self, order: rollout.ServiceUpdate) -> StartedRollout:
        order = registered_order(self, order)
        return rollout.start(self.ecs, order, patience=self.patience, before_update=self.before_update)

    def settings(
        self, service: Service, strategy: Strategy, *, is_tested: bool, pause_at: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return the settings of UpdateService for a strategy; `is_tested` adds the pause of the smoke test."""
        stages = self.pauses.stages(strategy, pause_at, is_tested=is_tested)
        in_use = ""
        if strategy.shifts:
            in_use = target_group_in_use(self.ecs, self.outputs, service, patience=self.patience)
        return order_settings(self.session, self.outputs, service, strategy, pauses=stages, in_use=in_use)

    def wire(self, service: Service, watching: WatchOptions, attempt: Attempt) -> Service:
        """Configure both target groups by a rolling redeployment, as ECS requires before the first shift of traffic.

        Return the service as ECS describes it after that.
        """
        self.session.report(
            "adding both target groups to the service, once: by a rolling deployment of what runs"
        )
        in_use = target_group_in_use(self.ecs, self.outputs, service, patience=self.patience)
        order = rollout.ServiceUpdate(
            task_definition_arn=service.task_definition_arn,
            desired=None,
            settings=wiring_settings(self.session, self.outputs, service, in_use=in_use),
        )
        started = rollout.start(self.ecs, registered_order(self, order), patience=self.patience)
        end = self.follow(started, watching, attempt, reset_to=None)
        self.require_success(end, watching, task_definition_arn=service.task_definition_arn, reset_to=None)
        return rollout.await_service(
            self.ecs, lambda found: is_wired(self.outputs, found), patience=self.patience
        )

    def _on_look(
        self, attempt: Attempt, watch: rollout.Watch, analyst: Analyst, deployment: ServiceDeployment
    ) -> bool:
        """Record the stage and compare the versions; return whether the rollout must be rolled back."""
        attempt.note_stage(deployment)
        before = attempt.analysis
        is_worse = analyst.look(deployment)
        attempt.analysis, watch.analysis = analyst.comparison, analyst.summary
        if is_worse and before != analyst.comparison:
            failure = failure_of(analyst.comparison)
            self.session.report(f"the new version is worse, and ECS must roll back: {failure}")
        return is_worse

    def adopt(self, arn: str, *, task_definition_arn: str) -> StartedRollout:
        """Return a service deployment under way as if this command had started it."""
        seen = frozenset(event.id for event in self.service().events)
        return StartedRollout(
            service_deployment_arn=arn,
            task_definition_arn=task_definition_arn,
            seen=seen,
            at=time.monotonic(),
            is_adopted=True,
        )

    def follow(
        self,
        started: StartedRollout,
        watching: WatchOptions,
        attempt: Attempt,
        *,
        reset_to: int | None,
        is_compared: bool = True,
    ) -> RolloutEnd:
        """Return the end of the rollout, good or bad; raise InterruptedByUserError if the user detached.

        `is_compared`: if ECS shifts traffic, roll back a new version that does worse than the old one.
        """
        attempt.task_definition_arn = started.task_definition_arn
        attempt.service_deployment_arn = started.service_deployment_arn
        attempt.reach(
            ROLLING_OUT,
            service_deployment=started.service_deployment_arn,
            task_definition=started.task_definition_arn,
        )
        end = self._watched_end(started, watching, attempt, reset_to=reset_to, is_compared=is_compared)
        if end is None:
            raise messages.detached(self.session.environment.name)
        if end.outcome not in (RolloutOutcome.STALLED, RolloutOutcome.SUPERSEDED):
            self.pauses.drop_after(end)
        return end

    def _watched_end(
        self,
        started: StartedRollout,
        watching: WatchOptions,
        attempt: Attempt,
        *,
        reset_to: int | None,
        is_compared: bool,
    ) -> RolloutEnd | None:
        pace, pauses = pace_of(self.session.cloud), self.pauses
        cadence = rollout.LOCAL if pace.is_local else rollout.ON_AWS
        stall_after = _stall_after(self, watching)
        watch = rollout.Watch(self.ecs, started, stall_after=stall_after, speed=pace.speed, cadence=cadence)
        analyst = analyst_of(self.session, self.outputs, self.ecs, pace=pace, is_on=is_compared)
        user_stages = partial(pauses.user_stages, watching.pause_at, started)
        began = self.session.aws.now()
        try:
            with deferred_interrupts() as interruption:
                return rollout.follow(
                    watch,
                    self.ecs,
                    show=watching.show,
                    interruption=interruption,
                    on_interrupt=watching.on_interrupt,
                    patience=self.patience,
                    reset_to=reset_to,
                    on_pause=partial(pauses.answer, attempt, user_stages),
                    on_look=partial(self._on_look, attempt, watch, analyst),
                )
        except KeyboardInterrupt:
            return None  # a second interrupt, while asking about the first
        finally:
            attempt.events = tuple(watch.events)
            attempt.traffic = traffic_since(self.session, self.outputs, began, pace=pace)

    def require_success(
        self,
        end: RolloutEnd,
        watching: WatchOptions,
        *,
        task_definition_arn: str,
        reset_to: int | None,
        attempt: Attempt | None = None,
    ) -> None:
        """Raise the error that explains why the rollout did not succeed, after setting the desired count to `reset_to`.

        A contradiction, failed smoke test or failed analysis of `attempt` is the cause, if there is one.
        """
        failure = failure_of(attempt.analysis) if attempt is not None else ""
        problem = first_problem(attempt.smoke) if attempt is not None else ""
        name, log_group = self.session.environment.name, self.outputs.log_group_name
        if end.outcome is RolloutOutcome.SUCCEEDED:
            if failure:
                cause = f"the new version is worse than the old one: {failure}"
                raise messages.serves_worse(cause, environment=name)
            return
        if attempt is not None and attempt.contradiction and end.outcome is RolloutOutcome.ROLLED_BACK:
            raise messages.contradicted(attempt.contradiction, environment=name)
        if problem and end.outcome is RolloutOutcome.ROLLED_BACK:
            raise messages.smoke_test_failed(problem, environment=name, log_group=log_group)
        if failure and end.outcome is RolloutOutcome.ROLLED_BACK:
            raise messages.analysis_failed(failure, environment=name, log_group=log_group)
        if end.outcome is RolloutOutcome.SUPERSEDED:
            raise _superseded(self, end)
        error = self._unsuccessful(end, _stall_after(self, watching), task_definition_arn)
        raise error if reset_to is None else self._with_restored_count(error, reset_to)

    def _with_restored_count(self, error: RolloutError, count: int) -> RolloutError:
        """Restore the desired count; return the error extended by the result."""
        result = f"the service is back at {count} tasks"
        try:
            self.patience(lambda: self.ecs.update(task_definition=None, desired=count))
        except LeaseLostError as lost:
            result = f"the service was not set back to {count} tasks: {lost.message}"
        return type(error)(f"{error.message}; {result}", hint=error.hint, cause=error.cause)

    def prove(self, attempt: Attempt, *, digest: str) -> verify.VerifyReport:
        """Raise NotServingError unless only the released revision serves; verify the environment."""
        session = self.session
        attempt.reach(VERIFYING)
        session.report("asking the load balancer which revision answers")
        arn = attempt.task_definition_arn
        tasks = serving_tasks(self, task_definition_arn=arn, digest=digest)

        def runs_too(task: str) -> bool:
            """Return whether a task that started since then is of this revision, too."""
            running = self.patience(self.ecs.tasks)
            return any(each.id == task and each.task_definition_arn == arn for each in running)

        require_answers(
            session,
            self.outputs,
            tasks=tasks,
            runs_too=runs_too,
            revision=attempt.revision,
            unreachable=attempt.unreachable,
        )
        session.report("verifying")
        report = verify_environment(session)
        attempt.is_verified = report.ok
        return report

    def _unsuccessful(self, end: RolloutEnd, stall_after: float, task_definition_arn: str) -> RolloutError:
        """Return the error of an unsuccessful end, with the cause from ECS and the stopped tasks."""
        name, last = self.session.environment.name, end.last
        stopped = self.patience(lambda: self.ecs.tasks(stopped=True))
        cause = rollout.explain(
            stopped=[task for task in stopped if task.task_definition_arn == task_definition_arn],
            deployment=last.deployment,
            primary=last.service.primary,
            events=last.service.events,
            environment=name,
            log_group=self.outputs.log_group_name,
        )
        return messages.unsuccessful(end.outcome, cause, environment=name, stall_after=stall_after)


def _superseded(deployer: Deployer, end: RolloutEnd) -> RolloutError:
    by = end.by
    what = "another deployment"
    if by is not None and by.target_revision_arn:
        with suppress(RevisionGoneError):  # deleted since, with its service
            what = deployer.task_definition_of(by)
    pause = deployer.pauses.inherited()
    return messages.superseded(what, environment=deployer.session.environment.name, inherited_pause=pause)


def registered_order(deployer: Deployer, order: rollout.ServiceUpdate) -> rollout.ServiceUpdate:
    """Return the order with the container and port of its task definition, where those of the service are others."""
    outputs, service = deployer.outputs, deployer.service()
    settings = registered(
        order.settings,
        service,
        deployer.task_definition(order.task_definition_arn),
        applied=ContainerPort(container=outputs.container_name, port=outputs.container_port),
        find_group=lambda: resolved_target_group(deployer.ecs, outputs, service, patience=deployer.patience),
    )
    return replace(order, settings=settings)


def serving_tasks(deployer: Deployer, *, task_definition_arn: str, digest: str) -> tuple[Task, ...]:
    """Return the tasks that serve; raise NotServingError unless they alone do, in time."""
    outputs, patience = deployer.outputs, deployer.patience
    expected = rollout.ExpectedRevision(
        task_definition_arn=task_definition_arn, container=outputs.container_name, digest=digest
    )
    within = patience(lambda: settling_seconds(deployer.session, outputs, deployer.service()))
    return rollout.require_sole_revision(deployer.ecs, expected, settled_within=within, patience=patience)


def _stall_after(deployer: Deployer, watching: WatchOptions) -> float:
    """Return the number of seconds without progress that counts as a stall."""
    settings = deployer.session.environment.release
    chosen = watching.stall_after or settings.stall_after
    # ECS's intended waits, such as bake time, are not stalls.
    waiting = settings.strategy.longest_wait * _MINUTE
    return (chosen or _STALL_SECONDS + deployer.service().grace_period) + waiting

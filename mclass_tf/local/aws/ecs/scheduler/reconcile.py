"""Brings a service nearer to what it is to be: one pass over its tasks, under the lock of the calls."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mclass_tf.local.aws.ecs.model import breaker, stages
from mclass_tf.local.aws.ecs.model.deployment import Deployment
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.service_deployment import Counts
from mclass_tf.local.aws.ecs.model.stages import Need, Step, Surroundings
from mclass_tf.local.aws.ecs.model.task import Launch, Registration, Task
from mclass_tf.local.aws.ecs.scheduler import blue_green, events, health, rolling, shifting
from mclass_tf.local.aws.ecs.scheduler.traffic import TrafficError
from mclass_tf.local.aws.ecs.scheduler.view import Cause, Condition, Decision, ServiceView, Strategy, TaskView
from mclass_tf.local.aws.ecs.scheduler.world import LOCAL, Alarm, World
from mclass_tf.local.aws.ecs.tasks import container_health
from mclass_tf.local.live import live

_log = logging.getLogger("mclass_tf.local")

STRATEGIES: Mapping[str, Strategy] = {
    "ROLLING": rolling.ROLLING,
    "BLUE_GREEN": blue_green.BLUE_GREEN,
    "CANARY": blue_green.BLUE_GREEN,
    "LINEAR": blue_green.BLUE_GREEN,
}

# AWS's seconds until ECS replaces a task that has ended by itself. Not documented; it is what users see.
_REPLACED_AFTER = 10.0
# The longest that ECS goes on watching the alarms when everything is in place, unless a bake time is set: "less than 5 minutes".
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
_LONGEST_BAKE = 300.0
_COMING = ("PROVISIONING", "PENDING", "ACTIVATING")
_OWN_FAULT = ("TaskFailedToStart", "EssentialContainerExited")
_BY_SCHEDULER = "ServiceSchedulerInitiated"
_NO_CANDIDATE = "No rollback candidate was found to run the rollback."


def reconcile(service: Service, *, world: World = LOCAL) -> float | None:
    """Do what is due; return when (seconds since the epoch) to look again if nothing changes before, None for never."""
    if service.status == "INACTIVE":
        return None
    return _Pass(service, world).run()


class _Pass:
    def __init__(self, service: Service, world: World) -> None:
        self._service = service
        self._world = world
        self._place = (service.account_id, service.region)
        self._now = world.now()
        self._wakes: list[float] = []
        tasks = [] if world.runner is None else world.runner.all(*self._place)
        self._tasks = {task.id: task for task in tasks if service.owns(task)}
        self._verdicts: dict[str, health.Verdict] = {}

    def run(self) -> float | None:
        self._begin()
        self._judge()
        self._note()
        self._watch()
        self._advance()
        self._act()
        if self._advance():
            self._act()
        self._settle()
        return min((at for at in self._wakes if at > self._now), default=None)

    # ---- what is

    def _begin(self) -> None:
        record = self._service.primary.record
        if record.status == "PENDING":
            record.begin(ignores_alarms=bool(self._alarming()))
            if self._is_shifting:
                shifting.note(self._service, production=0.0, test=0.0, rest=self._rest)

    def _judge(self) -> None:
        settings = self._service.settings
        grace = self._world.clock.real(settings.get("healthCheckGracePeriodSeconds") or 0)
        settling = self._world.clock.real(health.UNCHECKED_SECONDS)
        states = self._target_states()
        for task in self._tasks.values():
            facts = _facts(task, states=states)
            verdict = health.judge(facts, now=self._now, grace=grace, settling=settling)
            if verdict is None:
                continue
            self._verdicts[task.id] = verdict
            if verdict.until is not None:
                self._wakes.append(verdict.until)

    def _target_states(self) -> dict[tuple[str, str, int], tuple[str, str]]:
        wanted = {
            registration.target_group_arn
            for task in self._tasks.values()
            for registration in task.launch.registrations
            if task.last_status == "RUNNING"
        }
        return {
            (arn, target.ip, target.port): (target.state, target.description or "")
            for arn in wanted
            for target in self._world.targets(*self._place, arn)
        }

    def _deployment_of(self, task: Task) -> Deployment | None:
        return next((entry for entry in self._service.deployments if entry.id == task.deployment_id), None)

    # ---- what has happened

    def _note(self) -> None:
        self._service.notes = {
            task_id: noted for task_id, noted in self._service.notes.items() if task_id in self._tasks
        }
        self._tell_targets(
            (
                task
                for task in self._tasks.values()
                if task.is_registered and self._is_news(task, "registered")
            ),
            events.registered,
        )
        drained = [
            task for task in self._tasks.values() if task.is_draining and self._is_news(task, "deregistered")
        ]
        self._tell_targets(drained, events.deregistered)
        for deployment_id, count in Counter(task.deployment_id for task in drained).items():
            self._service.tell(events.draining(count), deployment_id=deployment_id)
        for task in self._tasks.values():
            self._note_progress(task)
            self._note_end(task)

    def _tell_targets(self, tasks: Iterable[Task], words: Any) -> None:
        groups = Counter(entry.target_group_arn for task in tasks for entry in task.launch.registrations)
        for arn, count in groups.items():
            self._service.tell(words(count, target_group_arn=arn))

    def _is_news(self, task: Task, what: str) -> bool:
        noted = self._service.notes.setdefault(task.id, set())
        is_news = what not in noted
        noted.add(what)
        return is_news

    def _note_progress(self, task: Task) -> None:
        deployment = self._deployment_of(task)
        if deployment is None:
            return
        if task.started_at is not None and self._is_news(task, "running"):
            deployment.launch_failures = 0
            deployment.held_until = 0.0
            self._note_digests(task, deployment)
        verdict = self._verdicts.get(task.id)
        if (
            verdict is None
            or verdict.condition is not Condition.HEALTHY
            or not self._is_news(task, "healthy")
        ):
            return
        if breaker.resets(self._breaker):
            self._count(deployment, 0)

    @staticmethod
    def _note_digests(task: Task, deployment: Deployment) -> None:
        for container in task.containers:
            if container.image_digest:
                deployment.revision.digests[container.name] = container.image_digest

    def _note_end(self, task: Task) -> None:
        """A task that ended by itself, or by somebody else's hand, is replaced; by its own fault, it is a failure."""
        if task.desired_status != "STOPPED" or task.stop_code == _BY_SCHEDULER:
            return
        deployment = self._deployment_of(task)
        if deployment is None or not self._is_news(task, "ended"):
            return
        deployment.ended_at.append(self._now)
        if task.stop_code not in _OWN_FAULT:
            return
        if deployment.is_in_progress:
            self._count(deployment, deployment.failed_tasks + 1)
        if task.started_at is None:
            deployment.launch_failures += 1
            delay = breaker.launch_delay(deployment.launch_failures)
            deployment.held_until = self._now + self._world.clock.real(delay)
            if delay and not deployment.is_impaired:
                deployment.is_impaired = True
                self._service.tell(events.IMPAIRED)

    @staticmethod
    def _count(deployment: Deployment, failed: int) -> None:
        if not deployment.is_in_progress:
            return
        deployment.failed_tasks = failed
        if deployment.record.status == "IN_PROGRESS":  # what led to a rollback stays on record
            deployment.record.failure_count = failed

    # ---- failure and rollback

    @property
    def _configuration(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._service.settings["deploymentConfiguration"]
        return found

    @property
    def _breaker(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._configuration["deploymentCircuitBreaker"]
        return found

    @property
    def _alarms(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._configuration.get("alarms") or {}
        return found

    def _alarming(self) -> list[str]:
        """The deployment alarms that are in ALARM."""
        return [name for name, alarm in self._known_alarms().items() if alarm.state == "ALARM"]

    def _known_alarms(self) -> Mapping[str, Alarm]:
        return self._world.alarms(*self._place, self._alarms.get("alarmNames") or [])

    def _watch(self) -> None:
        deployment = self._service.primary
        record = deployment.record
        record.breaker_threshold = breaker.threshold(self._breaker, desired=self._service.desired_count)
        if record.status == "ROLLBACK_REQUESTED":
            self._roll_back(
                deployment,
                state_reason=f"ECS deployment {deployment.id} stopped: a rollback was requested.",
                back_reason="ECS deployment rollback requested: rolling back to deploymentId {}.",
                record_reason="Service deployment rolled back because a rollback was requested.",
            )
            return
        if not deployment.is_in_progress or self._service.status != "ACTIVE":
            return
        if record.progress.has_failed and record.status == "IN_PROGRESS":
            self._fail(deployment, kind="lifecycle hook")
            return
        if self._breaker.get("enable") and deployment.failed_tasks >= record.breaker_threshold:
            record.breaker.trip()
            self._fail(deployment, kind="circuit breaker")
            return
        alarming = self._alarming() if record.alarms.status == "MONITORING" else []
        if alarming and record.status == "IN_PROGRESS":
            record.alarms.trip()
            record.triggered_alarms = alarming
            self._fail(deployment, kind="alarms")

    def _fail(self, deployment: Deployment, *, kind: str, because: str = "") -> None:
        """The failure's words and option are those of the circuit breaker, the alarms, a hook or the listener rules."""
        if kind == "alarms":
            words, goes_back = "alarm detected", bool(self._alarms.get("rollback"))
            because = f"CloudWatch alarms were triggered: {', '.join(deployment.record.triggered_alarms)}"
        elif kind == "circuit breaker":
            words, goes_back = "tasks failed to start", bool(self._breaker.get("rollback"))
            because = "the circuit breaker threshold was exceeded"
        elif kind == "lifecycle hook":
            words, goes_back = "hook execution failure(s) detected", True
            because = deployment.record.progress.failure
        else:
            words, goes_back = "traffic could not be shifted", True
        self._service.tell(events.deployment_failed(deployment.id, reason=words))
        state_reason = f"ECS deployment {kind}: {words}."
        if goes_back:
            self._roll_back(
                deployment,
                state_reason=state_reason,
                back_reason=f"ECS deployment {kind}: rolling back to deploymentId {{}}.",
                record_reason=f"Service deployment rolled back because {because}.",
            )
            return
        deployment.move("FAILED", reason=state_reason)
        deployment.record.end("STOPPED", reason=f"Service deployment stopped because {because}.")

    def _roll_back(
        self, deployment: Deployment, *, state_reason: str, back_reason: str, record_reason: str
    ) -> None:
        """Go back to the deployment that completed last. It keeps its id, and must complete before it can serve so again."""
        record, candidate = deployment.record, self._service.completed
        deployment.move("FAILED", reason=state_reason)
        if candidate is None or candidate is deployment:
            record.end("ROLLBACK_FAILED", reason=_NO_CANDIDATE)
            return
        self._service.completed = None
        self._service.tell(events.rolling_back(candidate.id))
        self._service.switch(candidate, reason=back_reason.format(candidate.id))
        candidate.record = record
        record.progress.give_up()
        record.progress = stages.back(record.configuration, before=record.progress)
        record.roll_back(reason=record_reason, revision_arn=candidate.revision.arn)

    # ---- stages and traffic

    @property
    def _is_shifting(self) -> bool:
        return self._strategy != stages.ROLLING

    @property
    def _strategy(self) -> str:
        """That of the service deployment: a service's own may have been changed since."""
        return str(self._service.primary.record.configuration["strategy"])

    @property
    def _blue(self) -> Deployment | None:
        """The deployment that serves beside the primary one, until that has all traffic."""
        service, progress = self._service, self._service.primary.record.progress
        blue = service.completed
        if blue is None or blue is service.primary or service.status != "ACTIVE":
            return None
        if self._is_shifting:
            return None if progress.is_last else blue
        return blue if progress.is_before_scale_up else None

    def _advance(self) -> bool:
        """Go on through the lifecycle stages; return whether that got anywhere."""
        deployment, record = self._service.primary, self._service.primary.record
        if not deployment.is_in_progress or record.has_ended or self._service.status != "ACTIVE":
            return False
        before, hooks = record.progress.position, len(record.progress.pauses)
        try:
            wake = record.progress.advance(
                Surroundings(
                    now=self._now, real=self._world.clock.real, is_met=self._is_met, shift=self._take_step
                )
            )
        except TrafficError as error:
            self._give_traffic_up(deployment, str(error))
            return True
        if wake is not None:
            self._wakes.append(wake)
        if len(record.progress.pauses) > hooks:
            live.changed("hooks")
        if record.progress.has_failed:
            self._watch()
            return True
        if record.is_cleaning_up:
            record.alarms.end()
        return record.progress.position != before

    def _give_traffic_up(self, deployment: Deployment, why: str) -> None:
        if deployment.record.status == "IN_PROGRESS":
            self._fail(deployment, kind="traffic shift", because=why)
            return
        # Both go on, since either may have traffic; what served before is what the next deployment goes back to.
        deployment.move("COMPLETED", reason=f"ECS deployment traffic shift: {why}.")
        deployment.record.end("ROLLBACK_FAILED", reason=f"Traffic could not be shifted back: {why}.")
        self._service.completed = deployment

    def _is_met(self, need: Need) -> bool:
        desired = self._service.desired_count
        minimum = min(desired, max(1, rolling.minimum_healthy(desired, self._configuration)))
        if need is Need.SCALED:
            return self._healthy(self._service.primary) >= desired
        if need is Need.MINIMUM:
            return self._healthy(self._service.primary) >= minimum
        if need is Need.SERVING:
            return self._healthy(self._service.primary) >= min(desired, 1)
        if need is Need.BLUE:
            blue = self._blue
            return blue is None or self._healthy(blue) >= minimum
        return need is Need.NOTHING or self._is_settled()

    def _healthy(self, deployment: Deployment) -> int:
        return sum(
            1
            for task_id, verdict in self._verdicts.items()
            if verdict.condition is Condition.HEALTHY and self._tasks[task_id].deployment_id == deployment.id
        )

    def _take_step(self, step: Step) -> None:
        shifting.take(step, service=self._service, world=self._world, rest=self._rest)

    @property
    def _rest(self) -> Deployment | None:
        """The deployment that has what traffic the primary one has not: which it replaces, or goes back from."""
        others = self._service.deployments[1:]
        return self._blue if self._blue in others else next(iter(others), None)

    # ---- what is to be done

    def _act(self) -> None:
        deployment, blue = self._service.primary, self._blue
        progress = deployment.record.progress
        deployment.is_wanted = not (progress.is_before_scale_up and deployment.is_in_progress)
        for other in self._service.deployments[1:]:
            other.is_wanted = other is blue
        if blue is not None and blue not in self._service.deployments:
            blue.is_wanted = True
            self._service.deployments.append(blue)
        is_beside = self._is_shifting or blue is not None or not deployment.is_wanted
        strategy = blue_green.BLUE_GREEN if is_beside else STRATEGIES[self._strategy]
        decision = strategy.decide(
            self._view_of_sides(blue) if is_beside else self._view_of(deployment, self._viewed())
        )
        if decision.stops or decision.start or decision.blue_start:
            self._service.is_steady = False
        self._stop(decision)
        self._start(deployment, decision.start, replacing=decision.replacing)
        if blue is not None:
            self._start(blue, decision.blue_start, replacing=decision.blue_replacing)
        if decision.is_stuck and not deployment.is_stuck:
            deployment.is_stuck = True
            self._service.tell(events.STUCK)

    def _viewed(self) -> list[TaskView]:
        return [self._view(task) for task in self._tasks.values() if task.id in self._verdicts]

    def _view_of(self, deployment: Deployment, tasks: list[TaskView]) -> ServiceView:
        pause = self._world.clock.real(_REPLACED_AFTER)
        deployment.ended_at = [at for at in deployment.ended_at if at + pause > self._now]
        self._wakes += [deployment.held_until, *(at + pause for at in deployment.ended_at)]
        desired = self._service.desired_count if deployment.is_wanted else 0
        return ServiceView(
            desired=desired,
            minimum=rolling.minimum_healthy(desired, self._configuration),
            maximum=rolling.maximum_running(desired, self._configuration),
            primary=deployment.id,
            tasks=tasks,
            is_failed=deployment.is_failed,
            may_launch=self._now >= deployment.held_until,
            held=len(deployment.ended_at),
        )

    def _view_of_sides(self, blue: Deployment | None) -> ServiceView:
        """The primary deployment and the one that serves beside it, each with its own tasks."""
        primary = self._service.primary
        blue_id = blue.id if blue is not None else None
        viewed = self._viewed()
        own = [task for task in viewed if task.deployment_id == primary.id]
        beside = [task for task in viewed if task.deployment_id == blue_id]
        return dataclasses.replace(
            self._view_of(primary, own),
            blue=None if blue is None else self._view_of(blue, beside),
            others=[task for task in viewed if task.deployment_id not in {primary.id, blue_id}],
            may_stop_others=self._may_stop_others(blue),
        )

    def _may_stop_others(self, blue: Deployment | None) -> bool:
        """Tasks of neither side go when no traffic can reach them any more."""
        progress = self._service.primary.record.progress
        if self._service.status != "ACTIVE" or progress.is_last:
            return True
        is_off = self._is_shifting and progress.has_reconciled and not self._service.primary.is_failed
        return blue is not None and is_off

    def _view(self, task: Task) -> TaskView:
        return TaskView(
            id=task.id,
            deployment_id=task.deployment_id,
            condition=self._verdicts[task.id].condition,
            zone=task.availability_zone,
            created_at=task.created_at,
        )

    def _stop(self, decision: Decision) -> None:
        running, pending = [], 0
        for stop in decision.stops:
            task = self._tasks[stop.task_id]
            if self._verdicts[task.id].condition is Condition.PENDING:
                pending += 1
            else:
                running.append(task.id)
            reason = f"Scaling activity initiated by (deployment {self._service.primary.id})"
            if stop.cause is Cause.HEALTH:
                reason = self._tell_unhealthy(task)
                self._count_unhealthy(task)
            self._verdicts[task.id] = health.Verdict(condition=Condition.DRAINING)
            if self._world.runner is not None:
                self._world.runner.stop(task, code=_BY_SCHEDULER, reason=reason, drain=True)
        if running:
            self._service.tell(events.stopped(running))
        if pending:
            self._service.tell(events.stopped_pending(pending))

    def _tell_unhealthy(self, task: Task) -> str:
        target = self._verdicts[task.id].target
        if target is None:
            self._service.tell(events.failed_container(task.id))
            return "Task failed container health checks"
        arn = target.target_group_arn
        self._service.tell(
            events.failed_target(task.id, port=target.port, target_group_arn=arn, reason=target.description)
        )
        return f"Task failed ELB health checks in (target-group {arn})"

    def _count_unhealthy(self, task: Task) -> None:
        deployment = self._deployment_of(task)
        if deployment is not None:
            self._count(deployment, deployment.failed_tasks + 1)

    def _start(self, deployment: Deployment, number: int, *, replacing: int) -> None:
        if not number or self._world.runner is None:
            return
        launch = self._launch(deployment)
        started = [self._world.runner.launch(launch) for _ in range(number)]
        for task in started:
            self._tasks[task.id] = task
            self._verdicts[task.id] = health.Verdict(condition=Condition.PENDING)
        self._service.tell(events.started([task.id for task in started], replacing=replacing))

    def _launch(self, deployment: Deployment) -> Launch:
        service, definition = self._service, self._service.definition(deployment)
        settings = {**service.settings, **deployment.revision.settings}
        return Launch(
            account_id=service.account_id,
            region=service.region,
            cluster_name=service.cluster_name,
            cluster_arn=service.cluster_arn,
            definition=definition,
            group=f"service:{service.name}",
            started_by=deployment.id,
            settings=settings,
            registrations=tuple(
                Registration(
                    target_group_arn=group,
                    container_name=wiring["containerName"],
                    container_port=wiring["containerPort"],
                )
                for wiring, group in deployment.revision.wirings()
            ),
            tags=tuple(_tags(service, settings=settings, definition=definition)),
        )

    # ---- what has come to its end

    def _settle(self) -> None:
        count(self._service, self._tasks.values())
        self._drop_replaced()
        if self._service.status == "DRAINING":
            if not self._verdicts:
                self._service.status = "INACTIVE"
                self._service.deployments = []
            return
        if not self._is_settled():
            self._service.is_steady = False
            return
        if self._service.primary.is_in_progress and self._has_baked():
            self._complete(self._service.primary)
        if not self._service.primary.is_in_progress and not self._service.is_steady:
            self._service.is_steady = True
            self._service.tell(events.STEADY)

    def _drop_replaced(self) -> None:
        """Deployments go with their last task; ECS keeps them to the end where alarms may call them back."""
        service = self._service
        left = {self._tasks[task_id].deployment_id for task_id in self._verdicts}
        is_watching = service.primary.is_in_progress and service.primary.record.alarms.status == "MONITORING"
        service.deployments = [
            entry
            for entry in service.deployments
            if entry is service.primary
            or entry.is_wanted
            or entry.id in left
            or (is_watching and not entry.is_failed)
        ]

    def _is_settled(self) -> bool:
        """Every task is the primary deployment's, healthy, and wanted. Those of its own that drain make no difference."""
        primary = self._service.primary
        healthy = 0
        for task_id, verdict in self._verdicts.items():
            is_own = self._tasks[task_id].deployment_id == primary.id
            if is_own and verdict.condition is Condition.DRAINING:
                continue
            if not is_own or verdict.condition is not Condition.HEALTHY:
                return False
            healthy += 1
        return healthy == self._service.desired_count and not primary.is_failed

    def _has_baked(self) -> bool:
        deployment = self._service.primary
        if not deployment.record.progress.is_last:
            return False
        if self._is_shifting:
            return True  # BAKE_TIME was a stage of its own
        if deployment.baking_until is None:
            deployment.baking_until = self._now + self._world.clock.real(self._bake_seconds())
        self._wakes.append(deployment.baking_until)
        return self._now >= deployment.baking_until

    def _bake_seconds(self) -> float:
        """How long to go on watching when everything is in place, in AWS's seconds."""
        asked = float(self._configuration.get("bakeTimeInMinutes") or 0) * 60
        record = self._service.primary.record
        is_watching = record.status == "IN_PROGRESS" and record.alarms.status == "MONITORING"
        if asked or not (is_watching and self._alarms.get("rollback")):
            return asked if record.status == "IN_PROGRESS" else 0.0
        longest = max((alarm.seconds for alarm in self._known_alarms().values()), default=0.0)
        return min(longest, _LONGEST_BAKE)

    def _complete(self, deployment: Deployment) -> None:
        service, record = self._service, deployment.record
        deployment.move("COMPLETED", reason=f"ECS deployment {deployment.id} completed.")
        service.deployments = [deployment]
        service.completed = deployment
        is_rollback = record.status == "ROLLBACK_IN_PROGRESS"
        record.end("ROLLBACK_SUCCESSFUL" if is_rollback else "SUCCESSFUL")
        service.tell(events.deployment_completed(deployment.id))


def count(service: Service, tasks: Iterable[Task]) -> None:
    """Count the tasks of each deployment, and of the service deployment that is going on."""
    known = [task for task in tasks if service.owns(task)]
    for deployment in service.deployments:
        own = [task for task in known if task.deployment_id == deployment.id]
        wanted = [task for task in own if task.desired_status == "RUNNING"]
        deployment.counts = Counts(
            requested=service.desired_count if deployment.is_wanted else len(wanted),
            running=sum(1 for task in own if task.last_status == "RUNNING"),
            pending=sum(1 for task in wanted if task.last_status in _COMING),
            production=deployment.production,
            test=deployment.test,
        )
        if deployment.revision.arn == deployment.record.target_arn and not deployment.record.has_ended:
            deployment.record.target = deployment.counts
    _count_sources(service)


def _count_sources(service: Service) -> None:
    """Where traffic is shifted, the revisions that a service deployment replaces are told as they are, not as they were."""
    record = service.primary.record
    if record.has_ended or record.configuration["strategy"] == stages.ROLLING:
        return
    gone = Counts(production=0.0, test=0.0)
    counts = {entry.revision.arn: entry.counts for entry in service.deployments}
    record.sources = [(arn, counts.get(arn, gone)) for arn, _ in record.sources]


def _facts(task: Task, *, states: Mapping[tuple[str, str, int], tuple[str, str]]) -> health.Facts:
    address = task.interface.private_ip if task.interface is not None else ""
    targets = []
    for entry in task.launch.registrations:
        state, description = states.get(
            (entry.target_group_arn, address, entry.container_port), ("unused", "")
        )
        targets.append(
            health.Target(
                target_group_arn=entry.target_group_arn,
                port=entry.container_port,
                state=state,
                description=description,
            )
        )
    return health.Facts(
        last_status=task.last_status,
        desired_status=task.desired_status,
        started_at=task.started_at,
        container_health=task.health_status if _has_check(task) else None,
        targets=targets,
    )


def _has_check(task: Task) -> bool:
    return any(
        definition.get("essential", True) and container_health.of_container(definition) is not None
        for definition in task.launch.definition.container_definitions
    )


def _tags(service: Service, *, settings: Mapping[str, Any], definition: Any) -> list[dict[str, str]]:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html"""
    source = {"SERVICE": service.tags, "TASK_DEFINITION": definition.tags}
    tags = list(source.get(settings.get("propagateTags") or "NONE") or [])
    if settings.get("enableECSManagedTags"):
        tags.append({"key": "aws:ecs:clusterName", "value": service.cluster_name})
        tags.append({"key": "aws:ecs:serviceName", "value": service.name})
    return tags

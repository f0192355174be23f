"""A service with a fake scheduler world, which tests advance step by step."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from mclass_tf.local.aws.ecs.model.service import Service, defaults
from mclass_tf.local.aws.ecs.model.task import Container, Launch, Task
from mclass_tf.local.aws.ecs.scheduler import reconcile as reconciling
from mclass_tf.local.aws.ecs.scheduler.traffic import TrafficError
from mclass_tf.local.aws.ecs.scheduler.world import Alarm
from mclass_tf.local.aws.elbv2.targets import TargetHealth
from mclass_tf.local.clock import Clock
from mclass_tf.local.network import Interface

GROUP = "arn:aws:elasticloadbalancing:eu-west-1:111111111111:targetgroup/web/0123456789abcdef"
ALTERNATE = GROUP.replace("/web/", "/alternate/")
PRODUCTION, TEST = "production-rule", "test-rule"
PREFIX = "arn:aws:ecs:eu-west-1:111111111111"


@dataclass
class World:
    """A fake SchedulerWorld. Times in seconds. Tasks change only when a test changes them."""

    time: float = 1_000_000.0
    clock: Clock = field(default_factory=Clock)
    tasks: list[Task] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    alarm_states: dict[str, Alarm] = field(default_factory=dict)
    stopped: list[tuple[str, str, bool]] = field(default_factory=list)
    rules: dict[str, dict[str, int]] = field(default_factory=dict)
    shifts: list[tuple[str, int]] = field(default_factory=list)
    broken_rules: set[str] = field(default_factory=set)

    @property
    def runner(self) -> World:
        return self

    def now(self) -> float:
        return self.time

    def targets(self, account_id: str, region: str, target_group_arn: str) -> Sequence[TargetHealth]:
        return [
            TargetHealth(ip=ip, port=3000, state=state, reason=None, description="Request timed out", since=0)
            for ip, state in self.states.items()
        ]

    def alarms(self, account_id: str, region: str, names: Sequence[str]) -> Mapping[str, Alarm]:
        return {name: self.alarm_states[name] for name in names if name in self.alarm_states}

    def weights(self, account_id: str, region: str, rule_arn: str) -> Mapping[str, int]:
        return self.rules.get(rule_arn, {})

    def shift(
        self, account_id: str, region: str, rule_arn: str, weights: Mapping[str, int], *, role_arn: str | None
    ) -> None:
        if rule_arn in self.broken_rules:
            raise TrafficError("the rule is gone")
        self.rules[rule_arn] = dict(weights)
        self.shifts.append((rule_arn, weights[ALTERNATE]))

    def all(self, account_id: str, region: str) -> list[Task]:
        return list(self.tasks)

    def launch(self, launch: Launch) -> Task:
        number = len(self.tasks) + 1
        task = Task(
            id=f"t{number}",
            arn=f"{PREFIX}:task/c/t{number}",
            launch=launch,
            created_at=self.time,
            attachment_id="a",
            containers=[Container(name="web", arn="c", image="i", image_digest="sha256:1")],
        )
        self.tasks.append(task)
        return task

    def stop(self, task: Task, *, code: str, reason: str, drain: bool) -> None:
        task.desired_status, task.stop_code, task.stopped_reason = "STOPPED", code, reason
        self.stopped.append((task.id, reason, drain))
        if task.last_status != "RUNNING":
            task.last_status = "STOPPED"


@dataclass
class Stage:
    """A service and its world. `settle` reconciles until nothing changes."""

    world: World
    service: Service

    def settle(self) -> float | None:
        wake = None
        for _ in range(5):
            wake = reconciling.reconcile(self.service, world=self.world)
        return wake

    def wait(self, seconds: float) -> None:
        self.world.time += seconds
        self.settle()

    @property
    def live(self) -> list[Task]:
        return [task for task in self.world.tasks if task.desired_status == "RUNNING"]

    def run(self, *tasks: Task) -> None:
        """Bring tasks to RUNNING, registered, their targets initial."""
        for task in tasks or tuple(task for task in self.live if task.last_status == "PROVISIONING"):
            ip = f"10.0.0.{task.id.removeprefix('t')}"
            task.interface = Interface(
                id="eni", private_ip=ip, mac_address="", subnet_id="", vpc_id="", availability_zone="a",
                security_group_ids=(),
            )  # fmt: skip
            task.last_status, task.started_at, task.is_registered = "RUNNING", self.world.time, True
            self.world.states[ip] = "initial"
        self.settle()

    def report(self, state: str, *tasks: Task) -> None:
        """Set the target health of these tasks, or of all running ones."""
        for task in tasks or tuple(task for task in self.live if task.last_status == "RUNNING"):
            assert task.interface is not None
            self.world.states[task.interface.private_ip] = state
        self.settle()

    def drain(self, *tasks: Task) -> None:
        """Drain and stop the tasks with desired status STOPPED."""
        going = tasks or tuple(task for task in self.world.tasks if task.desired_status == "STOPPED")
        for task in going:
            task.is_registered, task.is_draining = False, task.last_status == "RUNNING"
        self.settle()
        for task in going:
            task.last_status, task.is_draining = "STOPPED", False
        self.settle()

    def crash(self, task: Task, *, code: str = "EssentialContainerExited") -> None:
        task.desired_status, task.stop_code, task.last_status = "STOPPED", code, "STOPPED"
        self.settle()

    def come_up(self) -> None:
        """Bring all tasks to their desired status, healthy."""
        self.run()
        self.report("healthy")
        self.drain()

    def fail_to_start(self) -> None:
        """Fail all starting tasks, as for a missing image, and wait for the replacement delay."""
        for task in self.live:
            if task.last_status == "PROVISIONING":
                self.crash(task, code="TaskFailedToStart")
        self.wait(60)

    def deploy(self, definition: str = "t:2", **changes: Any) -> None:
        self.service.update({"taskDefinition": definition, **changes}, force=False)
        self.settle()

    @property
    def messages(self) -> list[str]:
        """The service events, oldest first, with random ids replaced."""
        ids = {entry.id: entry.revision.settings["taskDefinition"] for entry in self.service.deployments}
        found = []
        for event in reversed(self.service.events):
            text = event["message"].replace(GROUP, "GROUP")
            for ident, definition in ids.items():
                text = text.replace(ident, definition)
            found.append(text)
        return found

    @property
    def rollouts(self) -> list[tuple[str, str, str]]:
        return [
            (entry.revision.settings["taskDefinition"], entry.status, entry.rollout_state)
            for entry in self.service.deployments
        ]


def _definition(reference: str) -> Any:
    return SimpleNamespace(
        arn=reference,
        family="t",
        tags=[{"key": "of", "value": "definition"}],
        container_definitions=[{"name": "web", "image": f"repository@sha256:{reference}", "essential": True}],
    )


_names = itertools.count()


def make_stage(
    *,
    desired: int = 2,
    minimum: int = 100,
    maximum: int = 200,
    advanced: Mapping[str, str] | None = None,
    **configuration: Any,
) -> Stage:
    name = f"s{next(_names)}"
    request = {
        "taskDefinition": "t:1",
        "desiredCount": desired,
        "launchType": "FARGATE",
        "healthCheckGracePeriodSeconds": 30,
        "loadBalancers": [
            {
                "targetGroupArn": GROUP,
                "containerName": "web",
                "containerPort": 3000,
                **({"advancedConfiguration": dict(advanced)} if advanced else {}),
            }
        ],
        "propagateTags": "SERVICE",
        "enableECSManagedTags": True,
        "tags": [{"key": "team", "value": "mclass"}],
        "deploymentConfiguration": {
            "minimumHealthyPercent": minimum,
            "maximumPercent": maximum,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            **configuration,
        },
    }
    settings = {**defaults(request), "taskDefinition": "t:1"}
    service = Service(
        name=name,
        arn=f"{PREFIX}:service/c/{name}",
        cluster_name="c",
        cluster_arn=f"{PREFIX}:cluster/c",
        settings=settings,
        definition_of=_definition,
    )
    stage = Stage(world=World(), service=service)
    stage.settle()
    return stage

"""A fake ECS service that a test moves by hand, and a clock without real waits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from botocore.exceptions import ClientError

from mclass_tf.errors import ServiceEvent
from mclass_tf.service import Container, Deployment, Service, ServiceDeployment, ServiceRevision, Task

OLD = "arn:aws:ecs:ap-northeast-2:111111111111:task-definition/mclass-task:1"
NEW = "arn:aws:ecs:ap-northeast-2:111111111111:task-definition/mclass-task:2"
OTHER = "arn:aws:ecs:ap-northeast-2:111111111111:task-definition/mclass-task:3"
DIGEST = "sha256:" + "a" * 64
ARN = "arn:aws:ecs:ap-northeast-2:111111111111:service-deployment/mclass-cluster/mclass-service"
GROUP = "arn:aws:elasticloadbalancing:ap-northeast-2:111111111111:targetgroup/mclass-blue/1"
BEGAN = dt.datetime(2026, 11, 23, 1, 2, 3, tzinfo=dt.UTC)


def throttled(action: str = "DescribeServices") -> ClientError:
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, action)


def denied(action: str = "DescribeServices") -> ClientError:
    return ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not yours"}}, action)


def service_deployment(
    name: str = "own", status: str = "IN_PROGRESS", *, seconds: int = 0
) -> ServiceDeployment:
    """Return a service deployment that began this many seconds after the first."""
    return ServiceDeployment(
        arn=f"{ARN}/{name}",
        status=status,
        status_reason="",
        stage="",
        created_at=BEGAN + dt.timedelta(seconds=seconds),
        target_revision_arn=f"revision/{name}",
        source_revision_arns=(),
        rollback_reason="",
        failures=0,
        alarms=(),
    )


def deployment(
    task_definition_arn: str,
    *,
    status: str = "ACTIVE",
    desired: int = 2,
    running: int = 2,
    failed: int = 0,
    state: str = "COMPLETED",
) -> Deployment:
    return Deployment(
        id=f"ecs-svc/{task_definition_arn[-1]}",
        status=status,
        task_definition_arn=task_definition_arn,
        desired=desired,
        pending=0,
        running=running,
        failed=failed,
        rollout_state=state,
        rollout_reason="",
    )


def service(*deployments: Deployment, events: Sequence[ServiceEvent] = (), desired: int = 2) -> Service:
    return Service(
        arn="service",
        name="mclass-service",
        task_definition_arn=deployments[0].task_definition_arn,
        desired=desired,
        pending=0,
        running=sum(each.running for each in deployments),
        grace_period=30,
        deployments=deployments,
        events=tuple(events),
        target_group_arns=(GROUP,),
        configuration={"strategy": "ROLLING"},
    )


def task(
    name: str,
    task_definition_arn: str = NEW,
    *,
    address: str = "",
    stop_code: str = "",
    stopped_reason: str = "",
    exit_code: int | None = None,
    reason: str = "",
    digest: str = DIGEST,
) -> Task:
    return Task(
        arn=f"arn:aws:ecs:ap-northeast-2:111111111111:task/mclass-cluster/{name}",
        task_definition_arn=task_definition_arn,
        last_status="STOPPED" if stopped_reason or exit_code is not None else "RUNNING",
        started_by=f"ecs-svc/{task_definition_arn[-1]}",
        address=address,
        stop_code=stop_code,
        stopped_reason=stopped_reason,
        stopped_at=BEGAN,
        containers=(
            Container(
                name="mclass-server",
                image=f"repository@{digest}",
                digest=digest,
                exit_code=exit_code,
                reason=reason,
            ),
        ),
    )


def event(number: int, message: str = "(service mclass-service) has started 1 tasks.") -> ServiceEvent:
    return ServiceEvent(id=f"event-{number}", at=BEGAN + dt.timedelta(seconds=number), message=message)


@dataclass
class Clock:
    """Stands still until somebody waits."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class FakeEcs:
    """A `rollout.Client`. `revisions` gives the task definition of each service revision; `calls` is what was changed.

    `groups` gives the target groups of service revisions, `states_of` the target states of target groups that differ.
    `on_read` is called before every read and may move the service on, or raise.
    """

    now: Service
    own: ServiceDeployment = field(default_factory=service_deployment)
    listed: list[ServiceDeployment] = field(default_factory=list)
    running: list[Task] = field(default_factory=list)
    stopped: list[Task] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=lambda: {"revision/own": NEW})
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    states_of: dict[str, dict[str, str]] = field(default_factory=dict)
    calls: list[tuple[object, ...]] = field(default_factory=list)
    on_read: Callable[[], None] = lambda: None
    on_change: Callable[[], None] = lambda: None
    before_change: Callable[[], object] = lambda: None

    def guarded(self, before_change: Callable[[], object]) -> FakeEcs:
        self.before_change = before_change
        return self

    def service(self) -> Service:
        self.on_read()
        return self.now

    def service_deployments(
        self, *, statuses: Sequence[str] = (), since: dt.datetime | None = None
    ) -> Sequence[ServiceDeployment]:
        self.on_read()
        chosen = [
            each
            for each in self.listed
            if (not statuses or each.status in statuses) and (since is None or each.created_at >= since)
        ]
        return sorted(chosen, key=lambda each: each.created_at, reverse=True)

    def service_deployment(self, arn: str, /) -> ServiceDeployment:
        self.on_read()
        assert arn == self.own.arn
        return self.own

    def revision_task_definition(self, arn: str, /) -> str:
        return self.revisions[arn]

    def task_definition(self, reference: str, /) -> Mapping[str, Any]:
        ports = [{"containerPort": 3000}]
        own = {"name": "mclass-server", "image": f"repository@{DIGEST}", "portMappings": ports}
        return {"taskDefinitionArn": reference, "containerDefinitions": [own]}

    def revision(self, arn: str, /) -> ServiceRevision:
        groups = self.groups.get(arn, ())
        return ServiceRevision(task_definition_arn=self.revisions[arn], target_group_arns=groups)

    def tasks(self, *, stopped: bool = False) -> Sequence[Task]:
        return self.stopped if stopped else self.running

    def target_states(self, target_group_arns: Sequence[str], /) -> Mapping[str, str]:
        self.on_read()
        found = [self.states_of[arn] for arn in target_group_arns if arn in self.states_of]
        return {address: state for each in found or [self.states] for address, state in each.items()}

    def update(
        self,
        *,
        task_definition: str | None,
        desired: int | None,
        force: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.before_change()
        told = (settings,) if settings else ()
        self.calls.append(("update", task_definition, desired, force, *told))
        self.on_change()

    def roll_back(self, arn: str, /) -> None:
        self.before_change()
        self.calls.append(("roll back", arn))
        self.on_change()

    def answer_pause(self, arn: str, hook_id: str, /, *, goes_on: bool) -> None:
        self.before_change()
        self.calls.append(("answer", hook_id, goes_on))
        self.on_change()

    def becomes(self, status: str, *, failures: int = 0) -> None:
        self.own = replace(self.own, status=status, failures=failures)

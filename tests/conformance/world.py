"""The life of a service on the local AWS, in the process of the tests: its calls, its scheduler and its tasks are the real ones.

Containers and health checks are stand-ins, so that a life takes seconds. The clock runs fast, and every change is looked at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from moto.ecs.models import ecs_backends
from moto.elbv2.models import elbv2_backends

from mclass_tf.conformance.anonymous import Anonymizer
from mclass_tf.conformance.recorder import Recorder
from mclass_tf.conformance.recording import FORMAT, LOCAL, PRODUCTION, TEST, Recording
from mclass_tf.local.aws.ecs.api import task_document
from mclass_tf.local.aws.ecs.model.service_deployment import ServiceDeployment
from mclass_tf.local.aws.ecs.scheduler import reconcile, scheduler, traffic
from mclass_tf.local.balancer.report import Health
from mclass_tf.local.containers.driver import ContainerSpec
from mclass_tf.local.live import live
from tests.local import in_process, task_world
from tests.local.ecs_cluster import call
from tests.local.fake_driver import FakeContainer, FakeDriver
from tests.local.in_process import REGION
from tests.local.task_world import PORT, Applied

SPEED = 200.0
DRAINS_FOR = 60.0
HEALTHY_AFTER = 20.0
"""AWS's seconds from the registration of a target to its being healthy."""
_CLUSTER, _SERVICE = "conform-cluster", "conform-service"
_CRASH = "CRASH"
_LOOK = 0.002
_PATIENCE = 20.0
_MINUTE = 1
_ANSWERED_AFTER, _STOPPED_AFTER, _CRASHES_AFTER = 60.0, 20.0, 10.0
_HOOK = {
    "targetType": "PAUSE",
    "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
    "timeoutConfiguration": {"timeoutInMinutes": 60, "action": "ROLLBACK"},
}
CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "rolling": {"strategy": "ROLLING"},
    "blue-green": {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": _MINUTE},
    "canary": {
        "strategy": "CANARY",
        "bakeTimeInMinutes": _MINUTE,
        "canaryConfiguration": {"canaryPercent": 20.0, "canaryBakeTimeInMinutes": _MINUTE},
    },
    "linear": {
        "strategy": "LINEAR",
        "bakeTimeInMinutes": _MINUTE,
        "linearConfiguration": {"stepPercent": 40.0, "stepBakeTimeInMinutes": _MINUTE},
    },
}


class _Driver(FakeDriver):
    """Containers that crash where their environment says so."""

    async def start(self, container: ContainerSpec) -> FakeContainer:
        started = await super().start(container)
        if _CRASH in container.environment:
            code, after = int(container.environment[_CRASH]), live.clock.real(_CRASHES_AFTER)
            asyncio.get_running_loop().call_later(after, started.exit, code)
        return started


@dataclass(kw_only=True)
class Life:
    """A service "conform-service" in its surroundings, and the recorder that looks at it."""

    applied: Applied
    world: task_world.World
    recorder: Recorder
    alternate: str
    rules: Mapping[str, str]
    role_arn: str
    versions: int = 0
    is_crashing: bool = False
    """Whether the latest version crashes, so that no target gets healthy, however late the crash is on a busy machine."""
    _healthy_at: dict[tuple[str, str], float] = field(default_factory=dict)

    # ---- what the recorder sees

    @property
    def _service(self) -> Any:
        services = ecs_backends[self.applied.account_id][REGION].services.values()
        return next((service for service in services if service.name == _SERVICE), None)

    @property
    def groups(self) -> tuple[str, str]:
        return self.applied.target_group_arn, self.alternate

    def deployments(self) -> Sequence[Mapping[str, Any]]:
        service = self._service
        return [] if service is None else [record.document() for record in service.records]

    def events(self) -> Sequence[Mapping[str, Any]]:
        service = self._service
        return [] if service is None else service.document()["events"]

    def tasks(self) -> Sequence[Mapping[str, Any]]:
        tasks = self.world.tasks.all(self.applied.account_id, REGION)
        return [task_document.document(task, tags=False) for task in tasks]

    def targets(self) -> Sequence[tuple[str, str, str]]:
        backend: Any = elbv2_backends[self.applied.account_id][REGION]
        return [
            (f"{group} {target.ip}", target.state, target.reason or "")
            for group in self.groups
            for target in backend.target_health(group)
        ]

    def weights(self) -> Mapping[str, Mapping[str, float]]:
        account = self.applied.account_id
        return {kind: dict(traffic.weights(account, REGION, arn)) for kind, arn in self.rules.items()}

    # ---- what happens

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """Make a call of ECS, recorded; a refusal is returned as the answer."""
        try:
            answer = call(self.applied.client("ecs"), operation, request)
        except ClientError as error:
            answer = {"Error": error.response["Error"]}
        self.recorder.calls("ecs", operation, request, answer)
        return answer

    def register(self, *, crashes: str = "") -> str:
        """Register a version of the service, which exits with `crashes` when it starts; return its ARN."""
        self.versions += 1
        self.is_crashing = bool(crashes)
        variables = {"VERSION": str(self.versions), **({_CRASH: crashes} if crashes else {})}
        container = self.applied.container(
            environment=[{"name": name, "value": value} for name, value in variables.items()]
        )
        answer = self.call(
            "RegisterTaskDefinition",
            family="conform-task",
            cpu="256",
            memory="512",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            executionRoleArn=self.applied.role_arn,
            containerDefinitions=[container],
        )
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def create(self) -> None:
        self.call("CreateCluster", clusterName=_CLUSTER)
        self.call(
            "CreateService",
            cluster=_CLUSTER,
            serviceName=_SERVICE,
            taskDefinition=self.register(),
            desiredCount=2,
            launchType="FARGATE",
            healthCheckGracePeriodSeconds=60,
            networkConfiguration=self.applied.network,
            deploymentConfiguration=self.configuration("rolling"),
            loadBalancers=[
                {
                    "targetGroupArn": self.applied.target_group_arn,
                    "containerName": "mclass-server",
                    "containerPort": PORT,
                    "advancedConfiguration": {
                        "alternateTargetGroupArn": self.alternate,
                        "productionListenerRule": self.rules[PRODUCTION],
                        "testListenerRule": self.rules[TEST],
                        "roleArn": self.role_arn,
                    },
                }
            ],
        )

    def configuration(self, strategy: str, *, pauses: bool = False) -> dict[str, Any]:
        return {
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            "lifecycleHooks": [_HOOK] if pauses else [],
            **CONFIGURATIONS[strategy],
        }

    def update(self, strategy: str, definition: str, *, pauses: bool = False) -> None:
        self.call(
            "UpdateService",
            cluster=_CLUSTER,
            service=_SERVICE,
            taskDefinition=definition,
            deploymentConfiguration=self.configuration(strategy, pauses=pauses),
        )

    @property
    def latest(self) -> Mapping[str, Any]:
        """The latest service deployment."""
        return self.deployments()[0]

    async def ended(self) -> None:
        """Wait until the deployment is over, the service steady, and every task that goes is gone."""
        await task_world.until(lambda: self.latest.get("finishedAt") is not None, lambda: str(self.latest))
        await task_world.until(self._is_at_rest, lambda: str(self.events()[:3]))
        self._describe()

    def _is_at_rest(self) -> bool:
        moving = [task for task in self.tasks() if task["lastStatus"] not in ("RUNNING", "STOPPED")]
        draining = [state for _, state, _ in self.targets() if state in ("draining", "initial")]
        return not moving and not draining and (self._service is None or self._service.is_steady)

    def _describe(self) -> None:
        """Make the calls that clients read by."""
        arns = [str(each["serviceDeploymentArn"]) for each in self.deployments()[:1]]
        self.call("DescribeServices", cluster=_CLUSTER, services=[_SERVICE])
        self.call("ListServiceDeployments", cluster=_CLUSTER, service=_SERVICE, maxResults=1)
        described = self.call("DescribeServiceDeployments", serviceDeploymentArns=arns)
        revisions = [each["targetServiceRevision"]["arn"] for each in described["serviceDeployments"]]
        self.call("DescribeServiceRevisions", serviceRevisionArns=revisions)
        tasks = self.call("ListTasks", cluster=_CLUSTER, desiredStatus="RUNNING")["taskArns"]
        if tasks:
            self.call("DescribeTasks", cluster=_CLUSTER, tasks=tasks)

    async def paused(self) -> Mapping[str, Any]:
        """Wait for a pause; return its hook."""
        await task_world.until(lambda: any(hook["status"] == "AWAITING_ACTION" for hook in self._hooks()))
        await live.clock.sleep(_ANSWERED_AFTER)
        return next(hook for hook in self._hooks() if hook["status"] == "AWAITING_ACTION")

    def _hooks(self) -> Sequence[Mapping[str, Any]]:
        hooks: Sequence[Mapping[str, Any]] = self.latest.get("lifecycleHookDetails") or ()
        return hooks

    def check_health(self) -> None:
        """Find targets healthy that were registered long enough ago, as the load balancer does."""
        backend: Any = elbv2_backends[self.applied.account_id][REGION]
        for group in self.groups:
            for target in backend.target_health(group):
                key, now = (group, target.ip), time.time()
                if target.state not in ("initial", "unused"):
                    self._healthy_at.pop(key, None)
                    continue
                due = self._healthy_at.setdefault(key, now + live.clock.real(HEALTHY_AFTER))
                healthy = Health(target_group_arn=group, ip=target.ip, port=target.port, state="healthy")
                if now >= due and not self.is_crashing and backend.take_health(healthy):
                    live.changed("targets")


# ---- the chapters


async def first_release(life: Life) -> None:
    life.create()
    await life.ended()


def _releasing(strategy: str) -> Callable[[Life], Awaitable[None]]:
    async def release(life: Life) -> None:
        life.update(strategy, life.register(), pauses=strategy != "rolling")
        if strategy != "rolling":
            hook = await life.paused()
            life.call(
                "ContinueServiceDeployment",
                serviceDeploymentArn=life.latest["serviceDeploymentArn"],
                hookId=hook["hookId"],
                action="CONTINUE",
            )
        await life.ended()

    return release


def _failing(strategy: str) -> Callable[[Life], Awaitable[None]]:
    async def fail(life: Life) -> None:
        if strategy == "rolling":
            life.update(strategy, life.register(crashes="1"))
        else:
            life.update(strategy, life.register(), pauses=True)
            hook = await life.paused()
            life.call(
                "ContinueServiceDeployment",
                serviceDeploymentArn=life.latest["serviceDeploymentArn"],
                hookId=hook["hookId"],
                action="ROLLBACK",
            )
        await life.ended()

    return fail


async def crash_at_start(life: Life) -> None:
    life.update("canary", life.register(crashes="1"))
    await life.ended()


async def stop(life: Life) -> None:
    """Stop a deployment in its bake time."""
    life.update("blue-green", life.register())
    await task_world.until(lambda: life.latest.get("lifecycleStage") == "BAKE_TIME")
    await live.clock.sleep(_STOPPED_AFTER)
    arn = life.latest["serviceDeploymentArn"]
    life.call("StopServiceDeployment", serviceDeploymentArn=arn, stopType="ROLLBACK")
    await life.ended()


async def one_off(life: Life) -> None:
    answer = life.call(
        "RunTask",
        cluster=_CLUSTER,
        taskDefinition=life.register(crashes="3"),
        launchType="FARGATE",
        networkConfiguration=life.applied.network,
        startedBy="conform",
    )
    arns = [task["taskArn"] for task in answer["tasks"]]
    await task_world.until(
        lambda: any(task["taskArn"] in arns and task["lastStatus"] == "STOPPED" for task in life.tasks())
    )
    life.call("DescribeTasks", cluster=_CLUSTER, tasks=arns)


async def refused_calls(life: Life) -> None:
    ended = life.deployments()[-1]["serviceDeploymentArn"]
    unknown = f"{ended.rpartition('/')[0]}/AAAAAAAAAAAAAAAAAAAAA"
    life.call("StopServiceDeployment", serviceDeploymentArn=ended)
    life.call("StopServiceDeployment", serviceDeploymentArn=unknown)
    life.call("UpdateService", cluster="no-such-cluster", service=_SERVICE, desiredCount=1)
    life.call("UpdateService", cluster=_CLUSTER, service="no-such-service", desiredCount=1)
    life.call("RunTask", cluster=_CLUSTER, taskDefinition="no-such-family", launchType="FARGATE")
    life.call("DescribeServices", cluster=_CLUSTER, services=["no-such-service"])


async def destroy(life: Life) -> None:
    life.call("UpdateService", cluster=_CLUSTER, service=_SERVICE, desiredCount=0)
    await task_world.until(lambda: all(task["lastStatus"] == "STOPPED" for task in life.tasks()))
    await task_world.until(life._is_at_rest)
    life.call("DeleteService", cluster=_CLUSTER, service=_SERVICE)
    await task_world.until(lambda: life._service.status == "INACTIVE")
    life.call("DeleteCluster", cluster=_CLUSTER)


CHAPTERS: Mapping[str, Callable[[Life], Awaitable[None]]] = {
    "first release": first_release,
    "rolling": _releasing("rolling"),
    "rolling, failing": _failing("rolling"),
    "blue-green": _releasing("blue-green"),
    "blue-green, failing": _failing("blue-green"),
    "canary": _releasing("canary"),
    "canary, failing": crash_at_start,
    "linear": _releasing("linear"),
    "stop": stop,
    "one-off task": one_off,
    "refused calls": refused_calls,
    "destroy": destroy,
}


def record(folder: Path, chapters: Sequence[str] = tuple(CHAPTERS)) -> Recording:
    """Live these chapters, after the first release, and return what was recorded."""
    recorder = Recorder(Anonymizer(_NAMES), now=time.time, speed=SPEED)
    names = [name for name in CHAPTERS if name in chapters or name == "first release"]

    async def play(world: task_world.World) -> None:
        life = _make(world, recorder)
        with _running(life):
            for name in names:
                with recorder.chapter(name):
                    await CHAPTERS[name](life)

    task_world.run(folder, play, speed=SPEED, make_driver=_Driver, state=live, seconds=_PATIENCE * len(names))
    return Recording(format=FORMAT, cloud=LOCAL, region=REGION, chapters=recorder.chapters)


_NAMES = {_CLUSTER: "cluster-name", _SERVICE: "service-name", "mclass-server": "container-name"}


@contextmanager
def _running(life: Life) -> Iterator[None]:
    """Have the scheduler look after the service, and the recorder look at every change."""
    services = ecs_backends[life.applied.account_id][REGION].services
    schedule = scheduler.Scheduler(
        exclusive=in_process.aws().exclusive,
        runner=life.world.tasks,
        services=lambda: list(services.values()),
        reconcile_service=reconcile.reconcile,
    )
    parts = [asyncio.ensure_future(part) for part in (schedule.run(), _keep_looking(life))]
    unlisten = live.listen(lambda _: life.recorder.look())
    life.recorder.watch(life)
    try:
        with _looking_at_each_status(life):
            yield
    finally:
        unlisten()
        life.recorder.stop()
        for part in parts:
            part.cancel()


@contextmanager
def _looking_at_each_status(life: Life) -> Iterator[None]:
    """Look when a deployment has another status: on a busy machine the scheduler may set two in one pass."""

    def looking(method: Callable[..., None]) -> Callable[..., None]:
        def change(self: ServiceDeployment, *args: Any, **options: Any) -> None:
            method(self, *args, **options)
            life.recorder.look()

        return change

    with pytest.MonkeyPatch.context() as patch:
        for name in ("begin", "roll_back", "end"):
            patch.setattr(ServiceDeployment, name, looking(getattr(ServiceDeployment, name)))
        yield


async def _keep_looking(life: Life) -> None:
    while True:
        with suppress(KeyError):  # the group is gone
            life.check_health()
        life.recorder.look()
        await asyncio.sleep(_LOOK)


def _make(world: task_world.World, recorder: Recorder) -> Life:
    applied = world.applied
    elb, iam = applied.client("elbv2"), applied.client("iam")
    balancer = elb.describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]
    alternate = elb.create_target_group(
        Name="green", Protocol="HTTP", Port=PORT, VpcId=applied.vpc_id, TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    for group in (applied.target_group_arn, alternate):
        elb.modify_target_group_attributes(
            TargetGroupArn=group,
            Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": f"{DRAINS_FOR:g}"}],
        )
    weights = [
        {"TargetGroupArn": applied.target_group_arn, "Weight": 100},
        {"TargetGroupArn": alternate, "Weight": 0},
    ]
    (listener,) = elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    path = {"Field": "path-pattern", "Values": ["/*"]}
    header = {
        "Field": "http-header",
        "HttpHeaderConfig": {"HttpHeaderName": "X-Test-Traffic", "Values": ["a-secret"]},
    }
    test, production = (
        elb.create_rule(
            ListenerArn=listener["ListenerArn"],
            Priority=priority,
            Conditions=conditions,
            Actions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": weights}}],
        )["Rules"][0]["RuleArn"]
        for priority, conditions in ((1, [path, header]), (2, [path]))
    )
    return Life(
        applied=applied,
        world=world,
        recorder=recorder,
        alternate=alternate,
        rules={PRODUCTION: production, TEST: test},
        role_arn=task_world.infrastructure_role(iam),
    )


def only(recording: Recording, chapter: str) -> Recording:
    """Return the recording with that chapter alone."""
    chapters = tuple(each for each in recording.chapters if each.name == chapter)
    return msgspec.structs.replace(recording, chapters=chapters)

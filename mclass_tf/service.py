"""Read and change one ECS service over the API: its deployments, tasks and targets, as values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mclass_tf.aws import Aws, ecs_items, error_code
from mclass_tf.errors import (
    ConfigurationError,
    Hint,
    IncompleteAnswerError,
    RevisionGoneError,
    ServiceEvent,
    ServiceGoneError,
)
from mclass_tf.strategy import stages_of_pauses

# Statuses of a service deployment that is still under way.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html
ONGOING = ("PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")
ROLLING_BACK = ("ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")

_TASKS_A_CALL = 100
_DEPLOYMENTS_A_PAGE = 100
_COUNTED = ("requested", "running", "pending")  # tasks of a service revision
_ROUNDED = 1.0  # seconds; ECS may round the times of a filter, and does not say whether the ends are included

# Keys that DescribeTaskDefinition returns and RegisterTaskDefinition rejects.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
_READ_ONLY = frozenset(
    {
        "compatibilities",
        "deregisteredAt",
        "registeredAt",
        "registeredBy",
        "requiresAttributes",
        "revision",
        "status",
        "taskDefinitionArn",
    }
)
# Placement settings that DescribeServices returns and RunTask accepts by the same names.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
_PLACED_BY = (
    "capacityProviderStrategy",
    "enableECSManagedTags",
    "launchType",
    "networkConfiguration",
    "platformVersion",
)


def _required(item: Mapping[str, Any], name: str, *, of: str) -> Any:
    """Return a field of an answer; raise IncompleteAnswerError without it.

    The model of ECS calls every field of its answers optional. A field on which a decision depends has no default, so that
    unknown is never taken for none.
    """
    value = item.get(name)
    if value is None:
        raise IncompleteAnswerError(
            f"ECS leaves out {name} in its answer on {of}; nothing was decided without it",
            hint="ask again: the same command may find it in a moment",
        )
    return value


def registrable(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request of RegisterTaskDefinition for a task definition that DescribeTaskDefinition returned."""
    document = {key: value for key, value in described.items() if key not in _READ_ONLY}
    if not document.get("tags"):
        document.pop("tags", None)  # ECS rejects an empty list
    return document


def serving_container(task_definition: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return the container `name`, or else the one that listens on a port: an earlier version's may have another name."""
    containers: Sequence[Mapping[str, Any]] = task_definition.get("containerDefinitions") or ()
    named = [each for each in containers if each.get("name") == name]
    listening = [each for each in containers if each.get("portMappings")]
    return next(iter([*named, *listening]), None)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The tasks that a service runs from one task definition. `id` is "ecs-svc/…", `status` PRIMARY, ACTIVE or INACTIVE.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
    """

    id: str
    status: str
    task_definition_arn: str
    desired: int
    pending: int
    running: int
    failed: int
    rollout_state: str
    rollout_reason: str
    created_at: dt.datetime | None = None

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Deployment:
        return cls(
            id=_required(item, "id", of="a deployment"),
            status=_required(item, "status", of="a deployment"),
            task_definition_arn=_required(item, "taskDefinition", of="a deployment"),
            desired=int(item.get("desiredCount") or 0),
            pending=int(item.get("pendingCount") or 0),
            running=int(item.get("runningCount") or 0),
            failed=int(item.get("failedTasks") or 0),
            rollout_state=item.get("rolloutState") or "",
            rollout_reason=item.get("rolloutStateReason") or "",
            created_at=_time(item["createdAt"]) if item.get("createdAt") else None,
        )


@dataclass(frozen=True, kw_only=True)
class Service:
    """The current service. `events` are the latest hundred, oldest first. `grace_period` is in seconds.

    `revision_arns` are the service revisions that run, empty if ECS does not say.
    """

    arn: str
    name: str
    task_definition_arn: str
    desired: int
    pending: int
    running: int
    grace_period: int
    deployments: tuple[Deployment, ...]
    events: tuple[ServiceEvent, ...]
    target_group_arns: tuple[str, ...]
    configuration: Mapping[str, Any] = field(default_factory=dict)
    load_balancers: tuple[Mapping[str, Any], ...] = ()
    revision_arns: tuple[str, ...] = ()

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Service:
        required = partial(_required, item, of="the service")
        events = (
            ServiceEvent(id=event["id"], at=_time(event["createdAt"]), message=event["message"])
            for event in item.get("events") or ()
            if {"id", "createdAt", "message"} <= event.keys()
        )
        return cls(
            arn=required("serviceArn"),
            name=required("serviceName"),
            task_definition_arn=required("taskDefinition"),
            desired=int(required("desiredCount")),
            pending=int(required("pendingCount")),
            running=int(required("runningCount")),
            grace_period=int(item.get("healthCheckGracePeriodSeconds") or 0),
            deployments=tuple(map(Deployment.parse, required("deployments"))),
            events=tuple(sorted(events, key=lambda event: event.at)),
            target_group_arns=tuple(_target_groups(required("loadBalancers"))),
            configuration=required("deploymentConfiguration"),
            load_balancers=tuple(required("loadBalancers")),
            revision_arns=_revision_arns(item.get("currentServiceRevisions") or ()),
        )

    @property
    def primary(self) -> Deployment | None:
        return next((own for own in self.deployments if own.status == "PRIMARY"), None)


@dataclass(frozen=True, kw_only=True)
class HookState:
    """The state of a lifecycle hook. `kind` is "PAUSE" or "AWS_LAMBDA". `target_arn` is the function's, "" for a pause.

    `expires_at` is when ECS stops waiting, then rolls back or continues. It is None if ECS does not say.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentLifecycleHookDetail.html
    """

    id: str
    kind: str
    status: str
    target_arn: str = ""
    expires_at: dt.datetime | None = None
    rolls_back: bool = True

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> HookState:
        expires = item.get("expiresAt")
        return cls(
            id=item.get("hookId") or "",
            kind=item.get("targetType") or "",
            status=item.get("status") or "",
            target_arn=item.get("targetArn") or "",
            expires_at=_time(expires) if expires else None,
            rolls_back=item.get("timeoutAction") != "CONTINUE",
        )

    @property
    def is_waiting(self) -> bool:
        return self.status == "AWAITING_ACTION"


@dataclass(frozen=True, kw_only=True)
class ServiceDeployment:
    """A service deployment. `stage` is its lifecycle stage, or "".

    `source_revision_arns`: what ran at its start, empty if ECS does not say, which is not the same as nothing.
    `failures`: the failures that the circuit breaker has counted. `production`, `test`: the new version's percentage of that
    traffic, None if ECS does not shift it. `hooks`: the lifecycle hooks reached so far. `pause_stages`: the stages at which it
    is configured to pause. `strategy`: ECS's name of the strategy, "" in ListServiceDeployments, which omits it.
    `step_minutes`: the bake time of a canary's share, or of each linear step. `task_counts`: the requested, running and pending
    tasks of the new version.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceDeployment.html
    """

    arn: str
    status: str
    status_reason: str
    stage: str
    created_at: dt.datetime
    target_revision_arn: str
    source_revision_arns: tuple[str, ...]
    rollback_reason: str
    failures: int
    alarms: tuple[str, ...]
    production: float | None = None
    test: float | None = None
    hooks: tuple[HookState, ...] = ()
    pause_stages: tuple[str, ...] = ()
    bake_minutes: int = 0
    step_minutes: int = 0
    strategy: str = ""
    task_counts: tuple[int, ...] = ()

    @property
    def pauses(self) -> tuple[HookState, ...]:
        """Return the hooks that wait for an answer; none if the deployment is rolling back."""
        is_forward = self.status == "IN_PROGRESS"
        # A hook without an id cannot be answered yet.
        return tuple(hook for hook in self.hooks if hook.is_waiting and hook.id) if is_forward else ()

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> ServiceDeployment:
        required = partial(_required, item, of="a service deployment")
        revision = item.get("targetServiceRevision") or {}
        configuration = item.get("deploymentConfiguration") or {}
        return cls(
            arn=required("serviceDeploymentArn"),
            status=required("status"),
            status_reason=item.get("statusReason") or "",
            stage=item.get("lifecycleStage") or "",
            created_at=_time(required("createdAt")),
            # ListServiceDeployments has only the ARN.
            target_revision_arn=revision.get("arn") or item.get("targetServiceRevisionArn") or "",
            source_revision_arns=_revision_arns(item.get("sourceServiceRevisions") or ()),
            rollback_reason=(item.get("rollback") or {}).get("reason") or "",
            failures=int((item.get("deploymentCircuitBreaker") or {}).get("failureCount") or 0),
            alarms=tuple((item.get("alarms") or {}).get("triggeredAlarmNames") or ()),
            production=revision.get("requestedProductionTrafficWeight"),
            test=revision.get("requestedTestTrafficWeight"),
            hooks=tuple(map(HookState.parse, item.get("lifecycleHookDetails") or ())),
            pause_stages=stages_of_pauses(configuration),
            bake_minutes=int(configuration.get("bakeTimeInMinutes") or 0),
            step_minutes=_step_minutes(configuration),
            strategy=configuration.get("strategy") or "",
            task_counts=tuple(int(revision.get(f"{name}TaskCount") or 0) for name in _COUNTED),
        )


@dataclass(frozen=True, kw_only=True)
class ServiceRevision:
    """A service revision. `target_group_arns` are the target groups of its tasks, empty if ECS does not say.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceRevision.html
    """

    task_definition_arn: str
    target_group_arns: tuple[str, ...]
    created_at: dt.datetime | None = None

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> ServiceRevision:
        # `loadBalancers` is the service's: its two target groups swap at every shift.
        resolved = (item.get("resolvedConfiguration") or {}).get("loadBalancers") or ()
        return cls(
            task_definition_arn=str(_required(item, "taskDefinition", of="a service revision")),
            target_group_arns=tuple(each["targetGroupArn"] for each in resolved if "targetGroupArn" in each),
            created_at=_time(item["createdAt"]) if item.get("createdAt") else None,
        )


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of a task. `image` is the reference in the task definition, `digest` the pulled image's, "" if unknown."""

    name: str
    image: str
    digest: str
    exit_code: int | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task. `address` is its private IP address, "" until it has one. `stop_code` and `stopped_reason` are ECS's."""

    arn: str
    task_definition_arn: str
    last_status: str
    started_by: str
    address: str
    stop_code: str
    stopped_reason: str
    stopped_at: dt.datetime | None
    containers: tuple[Container, ...]

    @property
    def id(self) -> str:
        return self.arn.rsplit("/", 1)[-1]

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Task:
        required = partial(_required, item, of="a task")
        return cls(
            arn=required("taskArn"),
            task_definition_arn=required("taskDefinitionArn"),
            last_status=required("lastStatus"),
            started_by=item.get("startedBy") or "",
            address=_address(item),
            stop_code=item.get("stopCode") or "",
            stopped_reason=item.get("stoppedReason") or "",
            stopped_at=_time(item["stoppedAt"]) if item.get("stoppedAt") else None,
            containers=tuple(
                Container(
                    name=container.get("name") or "",
                    image=container.get("image") or "",
                    digest=container.get("imageDigest") or "",
                    exit_code=container.get("exitCode"),
                    reason=container.get("reason") or "",
                )
                for container in item.get("containers") or ()
            ),
        )


_GONE = frozenset({"ClusterNotFoundException", "ServiceNotActiveException", "ServiceNotFoundException"})


class Ecs:
    """One service, over the API of ECS, and its targets, over the API of the load balancer.

    Methods that need the service raise ServiceGoneError if it was deleted. `environment` is its environment, for the hint.
    `before_change` is called before each call that changes what the service runs or starts a task. It may raise to refuse it.
    """

    def __init__(
        self,
        aws: Aws,
        *,
        cluster: str,
        name: str,
        environment: str = "ENV",
        before_change: Callable[[], object] = lambda: None,
    ) -> None:
        self._aws = aws
        self._cluster = cluster
        self._name = name
        self._environment = environment
        self._before_change = before_change

    def guarded(self, before_change: Callable[[], object]) -> Ecs:
        """Return the same service with another `before_change`."""
        return Ecs(
            self._aws,
            cluster=self._cluster,
            name=self._name,
            environment=self._environment,
            before_change=before_change,
        )

    def service(self) -> Service:
        return Service.parse(self._described_service())

    def _described_service(self, **more: Any) -> Mapping[str, Any]:
        request = {"cluster": self._cluster, "services": [self._name], **more}
        response = self._call("DescribeServices", request)
        services = _required(response, "services", of="the service")
        active = [item for item in services if item.get("status", "ACTIVE") == "ACTIVE"]
        if not active:
            raise self._gone()
        described: Mapping[str, Any] = active[0]
        return described

    def _gone(self) -> ServiceGoneError:
        name = self._environment
        return ServiceGoneError(
            f"there is no service {self._name} in the cluster {self._cluster}: somebody has deleted it",
            hint=Hint(("plan", name), ", then ", ("apply", name), ", make it anew"),
        )

    def service_deployments(
        self, *, statuses: Sequence[str] = (), since: dt.datetime | None = None
    ) -> tuple[ServiceDeployment, ...]:
        """Return the service deployments, latest first. Fields that ListServiceDeployments omits are empty.

        `statuses` and `since` select by status and by time of creation. ECS keeps 90 days of them, and documents neither the order
        nor the size of a page: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html
        """
        request: dict[str, Any] = {"cluster": self._cluster, "service": self._name}
        request["maxResults"] = _DEPLOYMENTS_A_PAGE
        if statuses:
            request["status"] = list(statuses)
        if since is not None:
            request["createdAt"] = {"after": since.timestamp() - _ROUNDED}
        listed = map(
            ServiceDeployment.parse,
            _items(self._call, "ListServiceDeployments", request, "serviceDeployments", of="the service"),
        )
        chosen = (each for each in listed if since is None or each.created_at >= since)
        return tuple(sorted(chosen, key=lambda each: each.created_at, reverse=True))

    def service_deployment(self, arn: str) -> ServiceDeployment:
        """Return a service deployment; raise RevisionGoneError if ECS does not have it any more."""
        response = self._call("DescribeServiceDeployments", {"serviceDeploymentArns": [arn]})
        what = f"the service deployment {arn}"
        return ServiceDeployment.parse(
            _sole(response, "serviceDeployments", what=what, name=self._environment)
        )

    def revision_task_definition(self, arn: str) -> str:
        """Return the task definition ARN of a service revision."""
        return self.revision(arn).task_definition_arn

    def revision(self, arn: str) -> ServiceRevision:
        """Return a service revision; raise RevisionGoneError if ECS does not have it any more."""
        _required({"serviceRevisionArn": arn or None}, "serviceRevisionArn", of="a service deployment")
        response = self._call("DescribeServiceRevisions", {"serviceRevisionArns": [arn]})
        what = f"the service revision {arn}"
        return ServiceRevision.parse(_sole(response, "serviceRevisions", what=what, name=self._environment))

    def tasks(self, *, stopped: bool = False) -> tuple[Task, ...]:
        """Return the service's tasks with desired status RUNNING, or the tasks that stopped in about the last hour."""
        status = "STOPPED" if stopped else "RUNNING"
        return self._listed({"serviceName": self._name, "desiredStatus": status})

    def tasks_of_family(self, family: str) -> tuple[Task, ...]:
        """Return the tasks with desired status RUNNING of a task definition family."""
        return self._listed({"family": family, "desiredStatus": "RUNNING"})

    def _listed(self, filters: Mapping[str, str]) -> tuple[Task, ...]:
        request = {"cluster": self._cluster, **filters}
        arns = [*_items(self._call, "ListTasks", request, "taskArns", of="the tasks")]
        return tuple(task for part in _parts(arns) for task in self._described(part))

    def task(self, arn: str) -> Task | None:
        """Return a task by its ARN, None if ECS does not know it, yet or any more."""
        return next(self._described([arn]), None)

    def _described(self, arns: Sequence[str]) -> Iterator[Task]:
        response = self._call("DescribeTasks", {"cluster": self._cluster, "tasks": list(arns)})
        yield from map(Task.parse, _required(response, "tasks", of="the tasks"))

    def target_states(self, target_group_arns: Sequence[str]) -> Mapping[str, str]:
        """Return the load balancer's state of each registered target by its address: "healthy", "draining", …"""
        states: dict[str, str] = {}
        for arn in target_group_arns:
            health = self._aws.elbv2.describe_target_health(TargetGroupArn=arn)
            for target in _required(health, "TargetHealthDescriptions", of=f"the targets of {arn}"):
                states[target["Target"]["Id"]] = (target.get("TargetHealth") or {}).get("State") or ""
        return states

    def task_definition(self, reference: str) -> dict[str, Any]:
        """Return a task definition as ECS describes it, with its tags; raise ConfigurationError if it does not exist."""
        try:
            response = self._call(
                "DescribeTaskDefinition", {"taskDefinition": reference, "include": ["TAGS"]}
            )
        except Exception as error:
            if error_code(error) == "ClientException":
                raise ConfigurationError(
                    f"there is no task definition {reference}", hint="name one as FAMILY:REVISION"
                ) from None
            raise
        document: dict[str, Any] = _required(response, "taskDefinition", of=reference)
        for name in ("containerDefinitions", "family", "taskDefinitionArn"):
            _required(document, name, of=reference)
        return {**document, "tags": response.get("tags") or []}

    def register(self, document: Mapping[str, Any]) -> str:
        """Register a task definition revision; return its ARN."""
        response = self._call("RegisterTaskDefinition", document)
        registered = _required(response, "taskDefinition", of="a registration")
        return str(_required(registered, "taskDefinitionArn", of="a registration"))

    def deregister(self, arn: str) -> None:
        """Make a task definition revision INACTIVE; its tasks keep running."""
        self._call("DeregisterTaskDefinition", {"taskDefinition": arn})

    def placement(self) -> dict[str, Any]:
        """Return the placement settings and tags of the service's tasks, by RunTask's names."""
        described = self._described_service(include=["TAGS"])
        settings = {name: described[name] for name in _PLACED_BY if described.get(name)}
        if "capacityProviderStrategy" in settings:
            settings.pop("launchType", None)  # ECS accepts only one of the two
        # Only AWS may set tags of the prefix aws:.
        tags = [tag for tag in described.get("tags") or () if not tag["key"].lower().startswith("aws:")]
        return {**settings, **({"tags": tags} if tags else {})}

    def run_task(self, request: Mapping[str, Any]) -> tuple[Task | None, str]:
        """Start one task; return it, or None with ECS's reason.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
        """
        self._before_change()
        response = self._call("RunTask", {"cluster": self._cluster, "count": 1, **request})
        if response.get("tasks"):
            return Task.parse(response["tasks"][0]), ""
        failure = (response.get("failures") or [{}])[0]
        reasons = filter(None, (failure.get("reason"), failure.get("detail")))
        return None, ": ".join(reasons) or "ECS gives no reason"

    def stop_task(self, arn: str, *, reason: str) -> None:
        self._call("StopTask", {"cluster": self._cluster, "task": arn, "reason": reason})

    def update(
        self,
        *,
        task_definition: str | None,
        desired: int | None,
        force: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Change the service's task definition and desired count; None keeps the current value.

        `settings` are further parameters of UpdateService, by its names.
        """
        request: dict[str, Any] = {"cluster": self._cluster, "service": self._name, **(settings or {})}
        if task_definition is not None:
            request["taskDefinition"] = task_definition
        if desired is not None:
            request["desiredCount"] = desired
        if force:
            request["forceNewDeployment"] = True
        self._before_change()
        self._call("UpdateService", request)

    def roll_back(self, arn: str) -> None:
        """Tell ECS to roll back a service deployment.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopServiceDeployment.html
        """
        self._before_change()
        self._call("StopServiceDeployment", {"serviceDeploymentArn": arn, "stopType": "ROLLBACK"})

    def answer_pause(self, arn: str, hook_id: str, *, goes_on: bool) -> None:
        """Answer a pause of a service deployment: continue if `goes_on`, else roll back.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContinueServiceDeployment.html
        """
        self._before_change()
        action = "CONTINUE" if goes_on else "ROLLBACK"
        self._call(
            "ContinueServiceDeployment", {"serviceDeploymentArn": arn, "hookId": hook_id, "action": action}
        )

    def _call(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._aws.call_ecs(action, request)
        except Exception as error:
            if error_code(error) in _GONE:
                raise self._gone() from None
            raise


def _items(
    call: Callable[[str, Mapping[str, Any]], Mapping[str, Any]],
    action: str,
    request: Mapping[str, Any],
    key: str,
    *,
    of: str,
) -> Iterator[Any]:
    """Yield the items of every page of a list; raise IncompleteAnswerError if a page does not say which it has."""

    def complete(action: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        page = call(action, request)
        _required(page, key, of=of)
        return page

    return ecs_items(complete, action, request, key)


def _sole(response: Mapping[str, Any], key: str, *, what: str, name: str) -> Mapping[str, Any]:
    """Return the described item. ECS answers with a failure, and no item, for what it does not have.

    An answer with neither items nor failures says nothing of it: IncompleteAnswerError.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Failure.html
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/view-service-deployment.html (90 days)
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-revision.html (deletion)
    """
    items = response.get(key) if response.get("failures") else _required(response, key, of=what)
    if items:
        item: Mapping[str, Any] = items[0]
        return item
    reasons = [
        ": ".join(filter(None, (each.get("reason"), each.get("detail"))))
        for each in response.get("failures") or ()
    ]
    why = f" ({'; '.join(filter(None, reasons))})" if any(reasons) else ""
    raise RevisionGoneError(
        f"ECS no longer has {what}{why}",
        hint=Hint(
            "it shows the service deployments of the last 90 days, and deletes service revisions with their service; the service runs on: ",
            ("status", name),
            " shows what runs",
        ),
    )


def _revision_arns(summaries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the ARNs of all service revisions; nothing if one is unknown, since a part could be taken for the whole."""
    arns = tuple(str(each.get("arn") or "") for each in summaries)
    return arns if "" not in arns else ()


def _step_minutes(configuration: Mapping[str, Any]) -> int:
    """Return the bake minutes of each share of production traffic, by default ECS's own."""
    canary, linear = (configuration.get(f"{name}Configuration") or {} for name in ("canary", "linear"))
    minutes_by_strategy = {
        "CANARY": canary.get("canaryBakeTimeInMinutes", 10),
        "LINEAR": linear.get("stepBakeTimeInMinutes", 6),
    }
    return int(minutes_by_strategy.get(configuration.get("strategy") or "", 0))


def _time(value: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(float(value), tz=dt.UTC)


def _target_groups(balancers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the target groups of the tasks: two for ECS's own strategies."""
    for balancer in balancers:
        other = (balancer.get("advancedConfiguration") or {}).get("alternateTargetGroupArn")
        yield from (arn for arn in (balancer.get("targetGroupArn"), other) if arn)


def _address(task: Mapping[str, Any]) -> str:
    details = (
        detail
        for attachment in task.get("attachments") or ()
        if attachment.get("type") == "ElasticNetworkInterface"
        for detail in attachment.get("details") or ()
    )
    return next((str(d.get("value") or "") for d in details if d.get("name") == "privateIPv4Address"), "")


def _parts(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), _TASKS_A_CALL):
        yield items[start : start + _TASKS_A_CALL]

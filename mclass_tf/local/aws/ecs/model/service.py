"""A service: its state, and its description as ECS gives it.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
"""

from __future__ import annotations

import random
import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mclass_tf.local.aws.ecs.model import breaker, stages
from mclass_tf.local.aws.ecs.model.deployment import Deployment
from mclass_tf.local.aws.ecs.model.revisions import DEPLOYED, Revision, choose_target_groups
from mclass_tf.local.aws.ecs.model.service_deployment import ServiceDeployment
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.live import live

_EVENTS_KEPT = 100
_RECORDS_KEPT = 100
_MAXIMUM_PERCENT = 200
_MINIMUM_HEALTHY_PERCENT = 100
_SUPERSEDED = "Service deployment stopped because a new service deployment was started."
_DELETED = "Service deployment stopped because the service was deleted."


class Service:
    """One service. `settings` contains the attributes that requests set, as ECS names them.

    `deployments` are those with tasks, the primary one first. `completed` is the deployment to roll back to. `definition_of`
    returns a task definition. The scheduler (`reconcile`), which `live.changed` wakes, starts and stops the tasks.
    """

    def __init__(
        self,
        *,
        name: str,
        arn: str,
        cluster_name: str,
        cluster_arn: str,
        settings: Mapping[str, Any],
        definition_of: Callable[[str], Any],
    ) -> None:
        self.name = name
        self.arn = arn
        self.cluster_name = cluster_name
        self.cluster_arn = cluster_arn
        self.status = "ACTIVE"
        self.settings: dict[str, Any] = dict(settings)
        self.created_at = time.time()
        self.tags: list[dict[str, str]] = list(settings.get("tags") or [])
        self.task_sets: list[Any] = []  # read by other calls of moto
        self.deployments: list[Deployment] = []
        self.completed: Deployment | None = None
        self.records: list[ServiceDeployment] = []
        self.revisions: dict[str, Revision] = {}
        self.events: list[dict[str, Any]] = []
        self.is_steady = False
        self.recorded_transitions: dict[str, set[str]] = {}  # by task id
        self._definition_of = definition_of
        self._deployment_ids: set[str] = set()
        self._deploy()

    @property
    def physical_resource_id(self) -> str:
        """The ARN, as moto's tagging API names it."""
        return self.arn

    @property
    def account_id(self) -> str:
        return self.arn.split(":")[4]

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]

    @property
    def desired_count(self) -> int:
        return int(self.settings["desiredCount"])

    @property
    def launch_type(self) -> str | None:
        return self.settings.get("launchType")

    @property
    def scheduling_strategy(self) -> str:
        return str(self.settings["schedulingStrategy"])

    @property
    def capacity_providers(self) -> set[str]:
        return {entry["capacityProvider"] for entry in self.settings.get("capacityProviderStrategy") or []}

    @property
    def primary(self) -> Deployment:
        return self.deployments[0]

    def owns(self, task: Task) -> bool:
        return task.deployment_id in self._deployment_ids

    def deployment_of(self, task: Task) -> Deployment | None:
        return next((entry for entry in self.deployments if entry.id == task.deployment_id), None)

    def definition(self, deployment: Deployment) -> Any:
        return self._definition_of(deployment.revision.settings["taskDefinition"])

    # ---- changes

    def update(self, changes: Mapping[str, Any], *, force: bool) -> None:
        before = dict(self.settings)
        self.settings.update(changes)
        if force or any(before.get(name) != self.settings.get(name) for name in DEPLOYED):
            self._deploy(are_groups_requested="loadBalancers" in changes)
        elif before["desiredCount"] != self.settings["desiredCount"]:
            self.primary.updated_at = time.time()
        live.changed("ecs")

    def delete(self) -> None:
        """Scale the service to 0. It is DRAINING until its tasks have stopped."""
        self.settings["desiredCount"] = 0
        self.status = "DRAINING"
        for record in self.records:
            record.end("STOPPED", reason=_DELETED)
        live.changed("ecs")

    def switch(self, deployment: Deployment, *, reason: str) -> None:
        """Make this deployment, new or earlier, the primary one."""
        for other in self.deployments:
            other.status = "ACTIVE"
            other.keeps_tasks = False
        self.deployments = [deployment, *(other for other in self.deployments if other is not deployment)]
        self.settings.update(deployment.revision.settings)
        deployment.begin(reason=reason)

    def _deploy(self, *, are_groups_requested: bool = False) -> None:
        now = time.time()
        if self.deployments and self._is_already_serving(self.primary.record):
            self.completed = self.primary
        revision = self._create_revision(now, are_groups_requested=are_groups_requested)
        record = self._create_record(revision, now)
        for earlier in self.records[1:]:
            earlier.end("STOPPED", reason=_SUPERSEDED)
        deployment = Deployment(
            id=f"ecs-svc/{_random_number()}", revision=revision, record=record, created_at=now, updated_at=now
        )
        self._deployment_ids.add(deployment.id)
        self.switch(deployment, reason=f"ECS deployment {deployment.id} in progress.")
        self.is_steady = False

    def _create_revision(self, now: float, *, are_groups_requested: bool) -> Revision:
        definition = self._definition_of(self.settings["taskDefinition"])
        revision = Revision(
            arn=self._arn_of("service-revision", _random_number()),
            service_arn=self.arn,
            cluster_arn=self.cluster_arn,
            settings={name: self.settings.get(name) for name in DEPLOYED},
            target_groups=choose_target_groups(
                self.settings.get("loadBalancers") or [],
                in_use=self._groups_in_use,
                is_shifting=self._strategy != stages.ROLLING,
                are_requested=are_groups_requested,
            ),
            images={entry["name"]: entry["image"] for entry in definition.container_definitions},
            created_at=now,
        )
        self.revisions[revision.arn] = revision
        return revision

    @property
    def _strategy(self) -> str:
        return str(self.settings["deploymentConfiguration"]["strategy"])

    @property
    def _groups_in_use(self) -> tuple[str, ...]:
        serving = self.completed or (self.primary if self.deployments else None)
        return () if serving is None else serving.revision.target_groups

    def _is_already_serving(self, record: ServiceDeployment) -> bool:
        """Return whether the primary deployment is a rollback candidate although its service deployment has not ended."""
        is_shifting = stages.ROLLING not in {self._strategy, record.configuration["strategy"]}
        return record.is_cleaning_up or (record.progress.is_rollback and is_shifting)

    def _initial_progress(self) -> stages.Progress:
        under_way = self.deployments and self.primary is not self.completed
        return stages.deployment_progress(
            self.settings["deploymentConfiguration"],
            is_reconciling=len(self.deployments) > 1,
            has_blue=self.completed is not None,
            has_shifted=bool(under_way) and self.primary.record.configuration["strategy"] != stages.ROLLING,
        )

    def _create_record(self, revision: Revision, now: float) -> ServiceDeployment:
        record = ServiceDeployment(
            arn=self._arn_of("service-deployment", secrets.token_urlsafe(16)[:21]),
            service_arn=self.arn,
            cluster_arn=self.cluster_arn,
            target_arn=revision.arn,
            sources=[(entry.revision.arn, entry.counts) for entry in self.deployments],
            configuration=dict(self.settings["deploymentConfiguration"]),
            progress=self._initial_progress(),
            created_at=now,
            updated_at=now,
            breaker_threshold=breaker.threshold(
                self.settings["deploymentConfiguration"]["deploymentCircuitBreaker"],
                desired=self.desired_count,
            ),
        )
        self.records = [record, *self.records][:_RECORDS_KEPT]
        return record

    def _arn_of(self, kind: str, ident: str) -> str:
        prefix, _, _ = self.arn.partition(":service/")
        return f"{prefix}:{kind}/{self.cluster_name}/{self.name}/{ident}"

    # ---- events and description

    def add_event(self, message: str, *, deployment_id: str | None = None) -> None:
        """Add a service event. Some events also name a deployment."""
        of = f", taskSet {deployment_id}" if deployment_id else ""
        event = {
            "id": str(uuid.uuid4()),
            "createdAt": time.time(),
            "message": f"(service {self.name}{of}) {message}",
        }
        self.events = [event, *self.events][:_EVENTS_KEPT]

    def document(self, *, tags: bool = False) -> dict[str, Any]:
        """Return the service as DescribeServices does, without what was never set."""
        settings = {
            name: value
            for name, value in self.settings.items()
            if value is not None and name not in {"tags", "serviceConnectConfiguration"}
        }
        return {
            "serviceArn": self.arn,
            "serviceName": self.name,
            "clusterArn": self.cluster_arn,
            "status": self.status,
            "runningCount": sum(entry.counts.running for entry in self.deployments),
            "pendingCount": sum(entry.counts.pending for entry in self.deployments),
            "serviceRegistries": [],
            "placementConstraints": [],
            "placementStrategy": [],
            "platformFamily": "Linux",
            "createdAt": self.created_at,
            "createdBy": f"arn:aws:iam::{self.account_id}:root",
            "roleArn": f"arn:aws:iam::{self.account_id}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
            **settings,
            "deployments": [deployment.document() for deployment in self.deployments],
            "currentServiceDeployment": self.records[0].arn,
            "currentServiceRevisions": list(_revision_summaries(self.deployments)),
            "events": list(self.events),
            **({"tags": list(self.tags)} if tags else {}),
        }


def _revision_summaries(deployments: Iterable[Deployment]) -> Iterable[dict[str, Any]]:
    for deployment in deployments:
        yield deployment.counts.summary(deployment.revision.arn)


def _random_number() -> str:
    return str(random.randint(10**18, 10**19 - 1))  # noqa: S311  an identifier, not a secret


def defaults(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a new service: those of the request over the defaults of ECS."""
    deployment = deployment_configuration(request.get("deploymentConfiguration") or {}, current={})
    can_surge = deployment["maximumPercent"] > 100  # noqa: PLR2004  per cent
    return {
        "taskDefinition": None,
        "desiredCount": request.get("desiredCount", 0),
        "launchType": request.get("launchType"),
        "capacityProviderStrategy": request.get("capacityProviderStrategy"),
        "platformVersion": request.get("platformVersion") or "LATEST",
        "loadBalancers": request.get("loadBalancers") or [],
        "networkConfiguration": request.get("networkConfiguration"),
        "healthCheckGracePeriodSeconds": request.get("healthCheckGracePeriodSeconds"),
        "schedulingStrategy": request.get("schedulingStrategy") or "REPLICA",
        # Only if the request contains it: moto always returns ECS, which the provider takes for a change.
        "deploymentController": request.get("deploymentController"),
        "deploymentConfiguration": deployment,
        "enableECSManagedTags": request.get("enableECSManagedTags", False),
        "enableExecuteCommand": request.get("enableExecuteCommand", False),
        "propagateTags": request.get("propagateTags") or "NONE",
        # ECS enables it by default for a new service that can surge.
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html
        "availabilityZoneRebalancing": request.get("availabilityZoneRebalancing")
        or ("ENABLED" if can_surge else "DISABLED"),
        "tags": request.get("tags") or [],
    }


def deployment_configuration(requested: Mapping[str, Any], *, current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the full configuration: the requested one over the current one over the defaults of ECS."""
    standard = {
        "deploymentCircuitBreaker": {"enable": False, "rollback": False},
        "maximumPercent": _MAXIMUM_PERCENT,
        "minimumHealthyPercent": _MINIMUM_HEALTHY_PERCENT,
        "strategy": "ROLLING",
    }
    configuration = {
        **standard,
        **current,
        **{name: value for name, value in requested.items() if value is not None},
    }
    for strategy, (name, step_defaults) in _STEP_DEFAULTS.items():
        if configuration["strategy"] == strategy:
            configuration[name] = {**step_defaults, **(configuration.get(name) or {})}
        elif name not in requested:
            configuration.pop(name, None)  # of an earlier strategy
    return configuration


_STEP_DEFAULTS = {
    "CANARY": ("canaryConfiguration", stages.CANARY_DEFAULTS),
    "LINEAR": ("linearConfiguration", stages.LINEAR_DEFAULTS),
}

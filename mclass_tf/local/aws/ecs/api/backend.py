"""The state of ECS in one account and region: that of moto, except for services and tasks."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from moto.ecs.exceptions import TaskDefinitionNotFoundException
from moto.ecs.models import EC2ContainerServiceBackend

from mclass_tf.local.aws.ecs.api import parameters, strategy_checks, task_definition
from mclass_tf.local.aws.ecs.api.checks import FARGATE_PROVIDERS, check_service, check_strategy
from mclass_tf.local.aws.ecs.api.client_tokens import ClientTokens
from mclass_tf.local.aws.ecs.model import errors, service
from mclass_tf.local.aws.ecs.model.runner import runner_holder
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.scheduler.counts import count_tasks
from mclass_tf.local.aws.ecs.scheduler.reconcile import reconcile

_REVISION = re.compile(r"[1-9][0-9]{0,8}")
_STARTING = ("PROVISIONING", "PENDING", "ACTIVATING")
_INSIGHTS = ("disabled", "enabled", "enhanced")


class EcsBackend(EC2ContainerServiceBackend):  # type: ignore[misc]  # moto is not typed for us
    """`responses` calls the methods that take a `request`; moto also calls the others."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.tokens = ClientTokens()

    # ---- clusters

    def create_cluster_from(self, request: Mapping[str, Any]) -> Any:
        parameters.check(request, honoured=parameters.CREATE_CLUSTER)
        name = request.get("clusterName") or "default"
        existing = self.clusters.get(name)
        if existing is not None and existing.status == "ACTIVE":
            return existing  # CreateCluster is idempotent; moto would lose the settings
        _check_cluster(request)
        return super().create_cluster(
            name,
            request.get("tags") or [],
            request.get("settings"),
            request.get("configuration"),
            request.get("capacityProviders") or [],
            request.get("defaultCapacityProviderStrategy") or [],
        )

    def update_cluster_from(self, request: Mapping[str, Any]) -> Any:
        parameters.check(request, honoured=parameters.UPDATE_CLUSTER)
        self.active_cluster(request.get("cluster"))
        _check_cluster(request)
        return super().update_cluster(
            request.get("cluster"), request.get("settings"), request.get("configuration"), None
        )

    def put_cluster_providers(self, request: Mapping[str, Any]) -> Any:
        cluster = self.active_cluster(request.get("cluster"))
        _check_cluster(request)
        kept = set(request.get("capacityProviders") or [])
        used = {
            provider
            for entry in self.services.values()
            if entry.cluster_name == cluster.name and entry.status == "ACTIVE"
            for provider in entry.capacity_providers
        }
        if used - kept:
            raise errors.in_use("The specified capacity provider is in use and cannot be removed.")
        cluster.capacity_providers = list(request.get("capacityProviders") or [])
        cluster.default_capacity_provider_strategy = list(
            request.get("defaultCapacityProviderStrategy") or []
        )
        return cluster

    def delete_cluster(self, cluster_str: str) -> Any:
        cluster = self.active_cluster(cluster_str)
        if self.active_services(cluster.name):
            raise errors.cluster_has_services()
        if any(not task.is_stopped for task in self.tasks_of(cluster)):
            raise errors.cluster_has_tasks()
        return super().delete_cluster(cluster_str)

    def describe_clusters(self, cluster_names: list[str]) -> tuple[list[Any], list[Any]]:
        clusters, failures = super().describe_clusters(cluster_names)
        for cluster in clusters:  # moto never counts them
            cluster.active_services_count = len(self.active_services(cluster.name))
            tasks = self.tasks_of(cluster)
            cluster.running_tasks_count = sum(1 for task in tasks if task.last_status == "RUNNING")
            cluster.pending_tasks_count = sum(1 for task in tasks if task.last_status in _STARTING)
        return clusters, failures

    def list_clusters(self) -> list[str]:
        return [cluster.arn for cluster in self.clusters.values() if cluster.status == "ACTIVE"]

    def active_cluster(self, name: str | None) -> Any:
        cluster = self._get_cluster(name or "default")
        if cluster.status != "ACTIVE":
            raise errors.inactive_cluster()
        return cluster

    # ---- task definitions

    def register_task_definition_from(self, request: Mapping[str, Any]) -> Any:
        parameters.check(request, honoured=parameters.REGISTER_TASK_DEFINITION)
        task_definition.check_task_definition(request, account_id=self.account_id)
        registered = super().register_task_definition(
            family=request["family"],
            container_definitions=[
                task_definition.describe_container(entry) for entry in request["containerDefinitions"]
            ],
            volumes=request.get("volumes"),
            network_mode=request.get("networkMode"),
            tags=request.get("tags"),
            placement_constraints=request.get("placementConstraints"),
            requires_compatibilities=request.get("requiresCompatibilities"),
            cpu=request.get("cpu"),
            memory=request.get("memory"),
            task_role_arn=request.get("taskRoleArn"),
            execution_role_arn=request.get("executionRoleArn"),
            runtime_platform=request.get("runtimePlatform"),
            pid_mode=request.get("pidMode"),
            ephemeral_storage=request.get("ephemeralStorage"),
        )
        registered.enable_fault_injection = request.get("enableFaultInjection", False)
        registered.registered_at = time.time()
        registered.registered_by = f"arn:aws:iam::{self.account_id}:root"
        registered.deregistered_at = None
        return registered

    def deregister_task_definition(self, task_definition_str: str) -> Any:
        definition = super().deregister_task_definition(task_definition_str)
        definition.deregistered_at = time.time()
        return definition

    def delete_task_definitions(self, task_definitions: list[str]) -> Any:
        """Keep deleted revisions as DELETE_IN_PROGRESS: services that use one go on. moto forgets them at once.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/delete-task-definition-v2.html
        """
        deleted, failures = super().delete_task_definitions(task_definitions)
        for definition in deleted:
            self.task_definitions[definition.family][definition.revision] = definition
        return deleted, failures

    def describe_task_definition(self, task_definition_str: str) -> Any:
        """Return a task definition. A family without a revision means its latest ACTIVE one; moto ignores the status."""
        reference = task_definition_str.rsplit("/", maxsplit=1)[-1]
        if ":" in reference:
            if not _REVISION.fullmatch(reference.rpartition(":")[2]):
                raise errors.client("Unable to describe task definition.")
            return super().describe_task_definition(task_definition_str)
        active = [
            revision
            for revision, definition in self.task_definitions.get(reference, {}).items()
            if definition.status == "ACTIVE"
        ]
        if not active:
            raise TaskDefinitionNotFoundException
        return self.task_definitions[reference][max(active)]

    def usable_task_definition(self, reference: str) -> Any:
        """Return the task definition for new tasks. An INACTIVE one is refused.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deregister-task-definition-v2.html
        """
        try:
            definition = self.describe_task_definition(reference)
        except TaskDefinitionNotFoundException:
            raise errors.client("TaskDefinition not found.") from None
        if definition.status != "ACTIVE":
            raise errors.client("TaskDefinition is inactive")
        return definition

    # ---- services

    def create_service_from(self, request: Mapping[str, Any]) -> service.Service:
        parameters.check(request, honoured=parameters.CREATE_SERVICE)
        cluster = self.active_cluster(request.get("cluster"))
        name = str(request.get("serviceName"))
        existing = self.services.get(f"{cluster.name}:{name}")
        if existing is not None and existing.status == "ACTIVE":
            raise errors.invalid("Creation of service was not idempotent.")
        if existing is not None and existing.status == "DRAINING":
            raise errors.invalid("Unable to Start a service that is still Draining.")
        if not request.get("taskDefinition"):
            raise errors.invalid("TaskDefinition can not be blank.")
        definition = self.usable_task_definition(request["taskDefinition"])
        settings = service.defaults(request)
        settings["taskDefinition"] = definition.arn
        _check_bake_time(request, settings)
        if not settings["launchType"] and not settings["capacityProviderStrategy"]:
            settings["capacityProviderStrategy"] = cluster.default_capacity_provider_strategy or None
        named = _named(settings, deployment=settings["deploymentConfiguration"])
        self._check_service(settings, named=named, cluster=cluster, definition=definition)
        created = service.Service(
            name=name,
            arn=f"arn:aws:ecs:{self.region_name}:{self.account_id}:service/{cluster.name}/{name}",
            cluster_name=cluster.name,
            cluster_arn=cluster.arn,
            settings=settings,
            definition_of=self.describe_task_definition,
        )
        self.services[f"{cluster.name}:{name}"] = created
        reconcile(created)
        return created

    def update_service_from(self, request: Mapping[str, Any]) -> service.Service:
        parameters.check(request, honoured=parameters.UPDATE_SERVICE)
        cluster = self.active_cluster(request.get("cluster"))
        current = self.active_service(cluster=cluster, reference=str(request.get("service")))
        changes = {
            name: value
            for name, value in request.items()
            if value is not None
            and name in current.settings
            and name not in {"tags", "deploymentConfiguration"}
        }
        definition = None
        if request.get("taskDefinition"):
            definition = self.usable_task_definition(request["taskDefinition"])
            changes["taskDefinition"] = definition.arn
        elif "loadBalancers" in changes:
            definition = self.describe_task_definition(current.settings["taskDefinition"])
        named = _named(changes, deployment=request.get("deploymentConfiguration") or {})
        changes["deploymentConfiguration"] = service.deployment_configuration(
            request.get("deploymentConfiguration") or {}, current=current.settings["deploymentConfiguration"]
        )
        if changes.get("capacityProviderStrategy"):
            changes["launchType"] = None
        _check_bake_time(request, changes)
        requested = {**current.settings, **changes}
        self._check_service(requested, named=named, cluster=cluster, definition=definition)
        if not current.records[0].has_ended:
            strategy_checks.check_migration(current.settings, requested)
        current.update(changes, force=bool(request.get("forceNewDeployment")))
        reconcile(current)
        return current

    def delete_service_from(self, request: Mapping[str, Any]) -> service.Service:
        cluster = self.active_cluster(request.get("cluster"))
        current = self.active_service(cluster=cluster, reference=str(request.get("service")))
        if current.desired_count > 0 and not request.get("force"):
            raise errors.invalid("The service cannot be stopped while it is scaled above 0.")
        current.delete()
        reconcile(current)
        return current

    def create_service(self, *_arguments: Any, **_named: Any) -> Any:
        """Refuse a service of a CloudFormation stack. CloudFormation is moto's, whose services run no tasks."""
        raise NotImplementedError("services in stacks; create them by CreateService")

    def refresh_counts(self, current: service.Service) -> service.Service:
        """Return the service with current task counts."""
        if current.deployments:
            count_tasks(current, runner_holder.all(self.account_id, self.region_name))
        return current

    def active_service(self, *, cluster: Any, reference: str) -> service.Service:
        current: service.Service | None = self.services.get(
            f"{cluster.name}:{reference.rsplit('/', maxsplit=1)[-1]}"
        )
        if current is None:
            raise errors.unknown_service()
        if current.status != "ACTIVE":
            raise errors.inactive_service()
        return current

    def active_services(self, cluster_name: str) -> list[service.Service]:
        return [
            entry
            for entry in self.services.values()
            if entry.cluster_name == cluster_name and entry.status == "ACTIVE"
        ]

    def list_services(
        self, cluster_str: str, scheduling_strategy: str | None = None, launch_type: str | None = None
    ) -> list[str]:
        """List ACTIVE services. moto also lists deleted ones, and those of clusters whose names have the same ending."""
        return sorted(
            entry.arn
            for entry in self.active_services(self._get_cluster(cluster_str).name)
            if scheduling_strategy in (None, entry.scheduling_strategy)
            and launch_type in (None, entry.launch_type)
        )

    # ---- tasks

    def tasks_of(self, cluster: Any) -> list[Task]:
        """Return the tasks of a cluster, including those that stopped within the last hour."""
        return [
            task
            for task in runner_holder.all(self.account_id, self.region_name)
            if task.launch.cluster_arn == cluster.arn
        ]

    def _check_service(
        self, settings: Mapping[str, Any], *, named: AbstractSet[str], cluster: Any, definition: Any
    ) -> None:
        check_service(
            settings,
            named=named,
            cluster=cluster,
            task_definition=definition,
            account_id=self.account_id,
            region=self.region_name,
        )


def _check_bake_time(request: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    strategy = settings["deploymentConfiguration"]["strategy"]
    strategy_checks.check_bake_time(request.get("deploymentConfiguration") or {}, strategy=strategy)


def _named(settings: Mapping[str, Any], *, deployment: Mapping[str, Any]) -> set[str]:
    """Return the names of settings, and those of the parts of the deployment configuration."""
    parts = {f"deploymentConfiguration.{name}" for name, value in deployment.items() if value is not None}
    return {*settings, *parts, *(["deploymentConfiguration"] if parts else [])}


def _check_cluster(request: Mapping[str, Any]) -> None:
    for setting in request.get("settings") or []:
        if setting.get("name") != "containerInsights" or setting.get("value") not in _INSIGHTS:
            raise errors.invalid(f"Invalid cluster setting: {setting.get('name')}={setting.get('value')}.")
    providers = request.get("capacityProviders") or []
    for provider in providers:
        if provider not in FARGATE_PROVIDERS:
            raise errors.invalid(f"The specified capacity provider '{provider}' was not found.")
    strategy = request.get("defaultCapacityProviderStrategy")
    if strategy:
        check_strategy(strategy, associated=providers)

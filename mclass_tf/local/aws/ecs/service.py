"""A service as ECS keeps and describes it.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Mapping
from typing import Any

_EVENTS_KEPT = 100
_MAXIMUM_PERCENT = 200
_MINIMUM_HEALTHY_PERCENT = 100

# Changing one of these starts a deployment; the others take effect without one.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
_DEPLOYED = (
    "capacityProviderStrategy",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "loadBalancers",
    "networkConfiguration",
    "platformVersion",
    "propagateTags",
    "taskDefinition",
)


class Service:
    """One service. `settings` holds the attributes of its description that requests set, as ECS names them."""

    def __init__(
        self, *, name: str, arn: str, cluster_name: str, cluster_arn: str, settings: Mapping[str, Any]
    ) -> None:
        self.name = name
        self.arn = arn
        self.cluster_name = cluster_name
        self.cluster_arn = cluster_arn
        self.status = "ACTIVE"
        self.settings: dict[str, Any] = dict(settings)
        self.created_at = time.time()
        self.tags: list[dict[str, str]] = list(settings.get("tags") or [])
        self.task_sets: list[Any] = []  # what moto's other calls look at
        self.deployments: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self._account_id = arn.split(":")[4]
        self._deploy()

    @property
    def physical_resource_id(self) -> str:
        """What moto's tagging API calls the ARN."""
        return self.arn

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

    def update(self, changes: Mapping[str, Any], *, force: bool) -> None:
        before = dict(self.settings)
        self.settings.update(changes)
        if force or any(before.get(name) != self.settings.get(name) for name in _DEPLOYED):
            self._deploy()
        elif before["desiredCount"] != self.settings["desiredCount"]:
            self._rescale()

    def delete(self) -> None:
        """No task runs, so that nothing drains: the service is INACTIVE at once."""
        self.settings["desiredCount"] = 0
        self.status = "INACTIVE"
        self.deployments = []

    def document(self, *, tags: bool = False) -> dict[str, Any]:
        """As DescribeServices gives it; what was never set is absent."""
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
            "runningCount": 0,
            "pendingCount": 0,
            "serviceRegistries": [],
            "placementConstraints": [],
            "placementStrategy": [],
            "platformFamily": "Linux",
            "createdAt": self.created_at,
            "createdBy": f"arn:aws:iam::{self._account_id}:root",
            "roleArn": f"arn:aws:iam::{self._account_id}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
            **settings,
            "deployments": [dict(deployment) for deployment in self.deployments],
            "events": list(self.events),
            **({"tags": list(self.tags)} if tags else {}),
        }

    def _deploy(self) -> None:
        """Starts a deployment. The ones before it hold no tasks, so that they are gone at once."""
        ident = f"ecs-svc/{random.randint(10**18, 10**19 - 1)}"  # noqa: S311  an identifier, not a secret
        now = time.time()
        shared = (
            "taskDefinition",
            "launchType",
            "capacityProviderStrategy",
            "platformVersion",
            "networkConfiguration",
        )
        deployment = {
            "id": ident,
            "status": "PRIMARY",
            **{name: self.settings[name] for name in shared if self.settings.get(name) is not None},
            "platformFamily": "Linux",
            "desiredCount": self.desired_count,
            "runningCount": 0,
            "pendingCount": 0,
            "failedTasks": 0,
            "createdAt": now,
            "updatedAt": now,
            "rolloutState": "IN_PROGRESS",
            "rolloutStateReason": f"ECS deployment {ident} in progress.",
        }
        self.deployments = [deployment]
        self._settle(deployment)

    def _rescale(self) -> None:
        for deployment in self.deployments:
            deployment["desiredCount"] = self.desired_count
            deployment["updatedAt"] = time.time()

    def _settle(self, deployment: dict[str, Any]) -> None:
        """A deployment of no tasks is complete; one that wants tasks stays in progress, as none run yet."""
        if self.desired_count > 0:
            return
        ident = deployment["id"]
        deployment["rolloutState"] = "COMPLETED"
        deployment["rolloutStateReason"] = f"ECS deployment {ident} completed."
        self._record_event(f"(service {self.name}) (deployment {ident}) deployment completed.")
        self._record_event(f"(service {self.name}) has reached a steady state.")

    def _record_event(self, message: str) -> None:
        event = {"id": str(uuid.uuid4()), "createdAt": time.time(), "message": message}
        self.events = [event, *self.events][:_EVENTS_KEPT]


def defaults(request: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a new service: the request's, and ECS's own where the request is silent."""
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
        # Only when the request names it; moto always says ECS, which the provider takes for a change.
        "deploymentController": request.get("deploymentController"),
        "deploymentConfiguration": deployment,
        "enableECSManagedTags": request.get("enableECSManagedTags", False),
        "enableExecuteCommand": request.get("enableExecuteCommand", False),
        "propagateTags": request.get("propagateTags") or "NONE",
        # ECS turns it on for a new service that does not say, where the service can surge.
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html
        "availabilityZoneRebalancing": request.get("availabilityZoneRebalancing")
        or ("ENABLED" if can_surge else "DISABLED"),
        "tags": request.get("tags") or [],
    }


def deployment_configuration(asked: Mapping[str, Any], *, current: Mapping[str, Any]) -> dict[str, Any]:
    """The whole configuration: what is asked over what is in force over ECS's defaults."""
    standard = {
        "deploymentCircuitBreaker": {"enable": False, "rollback": False},
        "maximumPercent": _MAXIMUM_PERCENT,
        "minimumHealthyPercent": _MINIMUM_HEALTHY_PERCENT,
        "strategy": "ROLLING",
        "bakeTimeInMinutes": 0,
    }
    return {**standard, **current, **{name: value for name, value in asked.items() if value is not None}}

"""An ECS cluster behind a load balancer, for tests of services."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from tests.local.conftest import Account, Network

_SIZE = {"cpu": "256", "memory": "512"}


def call(client: Any, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """Call ECS with an operation or parameters that the installed boto3 may not know."""

    def replace(params: dict[str, Any], **_: Any) -> None:
        params["body"] = json.dumps(request).encode()
        params["headers"]["X-Amz-Target"] = f"AmazonEC2ContainerServiceV20141113.{operation}"

    def keep(http_response: Any, **_: Any) -> None:
        answers.append(json.loads(http_response.content))

    answers: list[dict[str, Any]] = []
    events = client.meta.events
    events.register("before-call.ecs.ListClusters", replace)
    events.register("after-call.ecs.ListClusters", keep)
    try:
        client.list_clusters()
    finally:
        events.unregister("before-call.ecs.ListClusters", replace)
        events.unregister("after-call.ecs.ListClusters", keep)
    return answers[0]


def list_all(client: Any, *, cluster: str = "c", service: str = "s", **filters: Any) -> list[dict[str, Any]]:
    """Return the service deployments of every page, by the time of their creation."""
    request = {"cluster": cluster, "service": service, **filters}
    page = client.list_service_deployments(**request)
    listed: list[dict[str, Any]] = page["serviceDeployments"]
    while page.get("nextToken"):
        page = client.list_service_deployments(**request, nextToken=page["nextToken"])
        listed += page["serviceDeployments"]
    return sorted(listed, key=lambda each: each["createdAt"])


@dataclass(frozen=True, kw_only=True)
class Ecs:
    """A cluster with a task definition, behind a load balancer."""

    account: Account
    client: Any
    network: Network
    target_group: str
    loose_target_group: str

    @property
    def service(self) -> dict[str, Any]:
        """A service like the modules' own."""
        return {
            "cluster": "c",
            "serviceName": "s",
            "taskDefinition": "t",
            "desiredCount": 0,
            "launchType": "FARGATE",
            "availabilityZoneRebalancing": "ENABLED",
            "deploymentConfiguration": {
                "maximumPercent": 200,
                "minimumHealthyPercent": 50,
                "deploymentCircuitBreaker": {"enable": True, "rollback": True},
                "alarms": {"alarmNames": ["a"], "enable": True, "rollback": True},
            },
            "enableECSManagedTags": True,
            "enableExecuteCommand": True,
            "healthCheckGracePeriodSeconds": 60,
            "loadBalancers": [
                {"targetGroupArn": self.target_group, "containerName": "web", "containerPort": 3000}
            ],
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": list(self.network.subnet_ids),
                    "securityGroups": [self.network.group_id],
                    "assignPublicIp": "DISABLED",
                }
            },
            "propagateTags": "SERVICE",
            "tags": [{"key": "team", "value": "mclass"}],
        }

    def described(self, *, include: tuple[str, ...] = ("TAGS",)) -> dict[str, Any]:
        found: dict[str, Any] = self.client.describe_services(
            cluster="c", services=["s"], include=list(include)
        )["services"][0]
        return found

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return call(self.client, operation, request)

    def delete(self) -> None:
        """Delete the service by force and wait until it is INACTIVE."""
        self.client.delete_service(cluster="c", service="s", force=True)
        self.client.get_waiter("services_inactive").wait(
            cluster="c", services=["s"], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )


def task_definition(**changes: Any) -> dict[str, Any]:
    return {
        "family": "t",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        **_SIZE,
        "containerDefinitions": [
            {"name": "web", "image": "example/web", "portMappings": [{"containerPort": 3000}]}
        ],
        **changes,
    }


def make_cluster(fresh: Account, network: Network) -> Ecs:
    client, elb = fresh.client("ecs"), fresh.client("elbv2")
    client.create_cluster(clusterName="c")
    client.register_task_definition(**task_definition())
    balancer = elb.create_load_balancer(Name="l", Subnets=network.subnet_ids)["LoadBalancers"][0]
    groups = [
        elb.create_target_group(Name=name, Port=3000, Protocol="HTTP", TargetType="ip", VpcId=network.vpc_id)[
            "TargetGroups"
        ][0]["TargetGroupArn"]
        for name in ("used", "loose")
    ]
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Port=80,
        Protocol="HTTP",
        DefaultActions=[{"Type": "forward", "TargetGroupArn": groups[0]}],
    )
    return Ecs(
        account=fresh, client=client, network=network, target_group=groups[0], loose_target_group=groups[1]
    )


@contextmanager
def cluster(fresh: Account, network: Network) -> Iterator[Ecs]:
    """Enter a cluster. Delete its service on exit, since the scheduler would reconcile it at each change of another."""
    made = make_cluster(fresh, network)
    yield made
    with suppress(ClientError):  # it is gone, or never was
        made.client.delete_service(cluster="c", service="s", force=True)

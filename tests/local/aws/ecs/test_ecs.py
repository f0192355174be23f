"""Clusters, task definitions and services: stored settings and rejected requests."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import REGION, Account, Network, make_network
from tests.local.ecs_cluster import Ecs, cluster, make_cluster, task_definition


@pytest.fixture
def ecs(fresh: Account, network: Network) -> Iterator[Ecs]:
    with cluster(fresh, network) as made:
        yield made


@pytest.fixture(scope="module")
def untouched(standing: Account) -> Ecs:
    """A cluster for rejected services."""
    return make_cluster(standing, make_network(standing))


def test_a_service_is_described_as_it_was_created(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    found = ecs.described()
    asked = {
        name: value
        for name, value in ecs.service.items()
        if name not in {"cluster", "taskDefinition", "deploymentConfiguration"}
    }
    assert asked == {name: found[name] for name in asked}
    configuration = ecs.service["deploymentConfiguration"]
    assert configuration == {name: found["deploymentConfiguration"][name] for name in configuration}
    assert f"arn:aws:ecs:{REGION}:{ecs.account.account_id}:task-definition/t:1" == found["taskDefinition"]
    assert found["platformVersion"] == "LATEST"


def test_a_service_without_a_deployment_controller_describes_none(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    assert "deploymentController" not in ecs.described()


def test_tags_are_described_only_on_request(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    assert "tags" not in ecs.described(include=())


def test_a_service_starts_its_desired_tasks(ecs: Ecs) -> None:
    created = ecs.client.create_service(**{**ecs.service, "desiredCount": 2})["service"]
    assert (created["desiredCount"], created["pendingCount"]) == (2, 2)
    assert [entry["rolloutState"] for entry in created["deployments"]] == ["IN_PROGRESS"]
    assert "has started 2 tasks: (task " in ecs.described()["events"][-1]["message"]
    listed = [
        arn
        for status in ("RUNNING", "STOPPED")
        for page in ecs.client.get_paginator("list_tasks").paginate(
            cluster="c", serviceName="s", desiredStatus=status
        )
        for arn in page["taskArns"]
    ]
    assert len(listed) >= 2
    ecs.delete()


def test_a_deployment_of_no_tasks_is_complete(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    found = ecs.described()
    assert [(entry["status"], entry["rolloutState"]) for entry in found["deployments"]] == [
        ("PRIMARY", "COMPLETED")
    ]
    assert any("has reached a steady state" in event["message"] for event in found["events"])


def test_an_update_changes_what_it_names_and_nothing_else(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    before = ecs.described()
    ecs.client.update_service(cluster="c", service="s", healthCheckGracePeriodSeconds=90)
    after = ecs.described()
    assert after["healthCheckGracePeriodSeconds"] == 90
    assert before["deployments"] == after["deployments"]
    for name in ("deploymentConfiguration", "loadBalancers", "networkConfiguration", "desiredCount"):
        assert before[name] == after[name]


def test_a_new_task_definition_starts_a_deployment(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    before = ecs.described()["deployments"][0]["id"]
    ecs.client.register_task_definition(**task_definition())
    ecs.client.update_service(cluster="c", service="s", taskDefinition="t")
    found = ecs.described()
    assert found["taskDefinition"].endswith("task-definition/t:2")
    assert before != found["deployments"][0]["id"]


def test_update_keeps_the_rest_of_the_deployment_configuration(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    ecs.client.update_service(cluster="c", service="s", deploymentConfiguration={"maximumPercent": 150})
    found = ecs.described()["deploymentConfiguration"]
    assert (
        found["maximumPercent"],
        found["minimumHealthyPercent"],
        found["deploymentCircuitBreaker"]["rollback"],
    ) == (150, 50, True)


_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "ec2": ({"launchType": "EC2"}, "Fargate only"),
    "daemon": ({"schedulingStrategy": "DAEMON"}, "schedulingStrategy"),
    "controller": ({"deploymentController": {"type": "CODE_DEPLOY"}}, "deployment controller CODE_DEPLOY"),
    "placement": ({"placementStrategy": [{"type": "random"}]}, "placementStrategy"),
    "discovery": ({"serviceRegistries": [{"registryArn": "x"}]}, "serviceRegistries"),
    "connect": ({"serviceConnectConfiguration": {"enabled": True}}, "Service Connect"),
    "no network": ({"networkConfiguration": {}}, "Network Configuration must be provided"),
    "no subnet": (
        {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-0123456789abcdef0"]}}},
        "subnet",
    ),
    "blocked": (
        {
            "availabilityZoneRebalancing": "DISABLED",
            "deploymentConfiguration": {"maximumPercent": 100, "minimumHealthyPercent": 100},
        },
        "cannot be 100",
    ),
    "cannot surge": (
        {"deploymentConfiguration": {"maximumPercent": 100, "minimumHealthyPercent": 0}},
        "Rebalancing",
    ),
    "negative": ({"desiredCount": -1}, "Desired count"),
    "not associated": (
        {"launchType": "", "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]},
        "not associated",
    ),
    "grace without balancer": ({"loadBalancers": []}, "Health check grace period"),
}


@pytest.mark.parametrize(("changes", "words"), _REFUSED.values(), ids=_REFUSED.keys())
def test_an_unsupported_service_is_an_error(untouched: Ecs, changes: dict[str, Any], words: str) -> None:
    request = {name: value for name, value in {**untouched.service, **changes}.items() if value != ""}
    with pytest.raises(ClientError, match=words) as error:
        untouched.client.create_service(**request)
    assert error.value.response["Error"]["Code"] == "InvalidParameterException"
    assert untouched.client.list_services(cluster="c")["serviceArns"] == []


_NEWER = {
    "strategy": {"strategy": "BLUE_GREEN"},
    "hooks": {"lifecycleHooks": [{"hookTargetArn": "x"}]},
    "breaker": {"deploymentCircuitBreaker": {"enable": True, "rollback": True, "somethingNew": 1}},
    "canary": {"canaryConfiguration": {"canaryPercent": 5}},
}


@pytest.mark.parametrize("addition", _NEWER.values(), ids=_NEWER.keys())
def test_parameters_unknown_to_the_installed_sdk_are_refused_not_dropped(
    untouched: Ecs, addition: dict[str, Any]
) -> None:
    request = copy.deepcopy(untouched.service)
    request["deploymentConfiguration"] |= addition
    named = (
        "BLUE_GREEN"
        if "strategy" in addition
        else next(reversed(addition.get("deploymentCircuitBreaker") or addition))
    )
    with pytest.raises(ClientError, match=named):
        _raw(untouched.client, "CreateService", request)


_BREAKER = {"enable": True, "rollback": True}
_BAD_DETECTION: dict[str, tuple[dict[str, Any], str]] = {
    "bake": ({"bakeTimeInMinutes": 5}, "not valid with the deployment strategy ROLLING"),
    "threshold": (
        {
            "deploymentCircuitBreaker": {
                **_BREAKER,
                "thresholdConfiguration": {"type": "BOUNDED_PERCENT", "value": 101},
            }
        },
        "at most 100",
    ),
    "threshold's type": (
        {"deploymentCircuitBreaker": {**_BREAKER, "thresholdConfiguration": {"type": "PERCENT", "value": 1}}},
        "BOUNDED_PERCENT",
    ),
}


@pytest.mark.parametrize(("changes", "words"), _BAD_DETECTION.values(), ids=_BAD_DETECTION.keys())
def test_the_settings_of_failure_detection_are_validated(
    ecs: Ecs, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        _raw(ecs.client, "CreateService", {**ecs.service, "deploymentConfiguration": changes})


def test_an_unknown_parameter_is_refused_by_name(ecs: Ecs) -> None:
    with pytest.raises(ClientError, match="somethingNew"):
        _raw(ecs.client, "CreateService", {**ecs.service, "somethingNew": 1})


def _raw(client: Any, operation: str, request: dict[str, Any]) -> None:
    """Send a request that the installed SDK would reject, as a newer one would."""

    def replace(params: dict[str, Any], **_: Any) -> None:
        params["body"] = json.dumps(request).encode()

    event = f"before-call.ecs.{operation}"
    client.meta.events.register(event, replace)
    try:
        client.create_service(serviceName="s")
    finally:
        client.meta.events.unregister(event, replace)


def test_a_target_group_without_a_load_balancer_is_refused(ecs: Ecs) -> None:
    request = ecs.service
    request["loadBalancers"][0]["targetGroupArn"] = ecs.loose_target_group
    with pytest.raises(ClientError, match="does not have an associated load balancer"):
        ecs.client.create_service(**request)


@pytest.mark.parametrize(
    ("wiring", "words"),
    [
        ({"containerName": "other"}, "container other does not exist"),
        ({"containerPort": 1}, "container port 1"),
    ],
)
def test_a_load_balancer_must_name_an_existing_container_and_port(
    ecs: Ecs, wiring: dict[str, Any], words: str
) -> None:
    request = ecs.service
    request["loadBalancers"][0] |= wiring
    with pytest.raises(ClientError, match=words):
        ecs.client.create_service(**request)


def test_an_inactive_task_definition_starts_nothing(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    ecs.client.register_task_definition(**task_definition())
    ecs.client.deregister_task_definition(taskDefinition="t:1")
    with pytest.raises(ClientError, match="TaskDefinition is inactive"):
        ecs.client.update_service(cluster="c", service="s", taskDefinition="t:1")
    with pytest.raises(ClientError, match="TaskDefinition is inactive"):
        ecs.client.create_service(**{**ecs.service, "serviceName": "other", "taskDefinition": "t:1"})


def test_a_service_keeps_a_deregistered_task_definition(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    ecs.client.deregister_task_definition(taskDefinition="t:1")
    ecs.client.update_service(cluster="c", service="s", desiredCount=1)
    assert ecs.described()["taskDefinition"].endswith("t:1")


def test_a_family_means_its_latest_active_revision(ecs: Ecs) -> None:
    ecs.client.register_task_definition(**task_definition())
    ecs.client.deregister_task_definition(taskDefinition="t:2")
    found = ecs.client.describe_task_definition(taskDefinition="t")["taskDefinition"]
    assert found["revision"] == 1


def test_deleting_a_service_above_zero_requires_force(ecs: Ecs) -> None:
    ecs.client.create_service(**{**ecs.service, "desiredCount": 1})
    with pytest.raises(ClientError, match="scaled above 0"):
        ecs.client.delete_service(cluster="c", service="s")
    ecs.delete()
    assert ecs.client.list_services(cluster="c")["serviceArns"] == []


def test_a_deleted_service_can_be_created_again_but_not_updated(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    ecs.client.delete_service(cluster="c", service="s")
    with pytest.raises(ClientError, match="ServiceNotActiveException"):
        ecs.client.update_service(cluster="c", service="s", desiredCount=1)
    ecs.client.create_service(**ecs.service)
    assert ecs.described()["status"] == "ACTIVE"


def test_a_service_cannot_be_created_twice(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    with pytest.raises(ClientError, match="not idempotent"):
        ecs.client.create_service(**ecs.service)


def test_a_cluster_with_services_cannot_be_deleted(ecs: Ecs) -> None:
    ecs.client.create_service(**ecs.service)
    assert ecs.client.describe_clusters(clusters=["c"])["clusters"][0]["activeServicesCount"] == 1
    with pytest.raises(ClientError, match="ClusterContainsServicesException"):
        ecs.client.delete_cluster(cluster="c")


def test_tasks_of_an_unknown_service_are_not_listed(ecs: Ecs) -> None:
    with pytest.raises(ClientError, match="ServiceNotFoundException"):
        ecs.client.list_tasks(cluster="c", serviceName="other")


def test_capacity_providers_of_fargate_exist_and_others_do_not(ecs: Ecs) -> None:
    found = ecs.client.describe_capacity_providers(capacityProviders=["FARGATE_SPOT", "other"])
    assert [(entry["name"], entry["status"]) for entry in found["capacityProviders"]] == [
        ("FARGATE_SPOT", "ACTIVE")
    ]
    assert [entry["reason"] for entry in found["failures"]] == ["MISSING"]


def test_a_service_without_a_launch_type_uses_the_strategy_of_the_cluster(ecs: Ecs) -> None:
    strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}]
    ecs.client.put_cluster_capacity_providers(
        cluster="c", capacityProviders=["FARGATE", "FARGATE_SPOT"], defaultCapacityProviderStrategy=strategy
    )
    request = ecs.service
    del request["launchType"]
    ecs.client.create_service(**request)
    assert strategy == ecs.described()["capacityProviderStrategy"]
    assert "launchType" not in ecs.described()
    with pytest.raises(ClientError, match=r"ResourceInUseException|in use"):
        ecs.client.put_cluster_capacity_providers(
            cluster="c", capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[]
        )


def _container(**settings: Any) -> dict[str, Any]:
    return {"containerDefinitions": [{"name": "a", "image": "i", **settings}]}


def _depending(*needs: str, condition: str = "START") -> dict[str, Any]:
    """Return containers `a`, `b`, …; each depends on the container at its index in `needs`, if any."""
    return {
        "containerDefinitions": [
            {
                "name": name,
                "image": "i",
                "dependsOn": [{"containerName": need, "condition": condition}] if need else [],
            }
            for name, need in zip("abcd", needs, strict=False)
        ]
    }


_BAD_TASKS: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"cpu": "256", "memory": "4096"}, "No Fargate configuration exists"),
    "no size": ({"cpu": "256", "memory": ""}, "'cpu' and 'memory'"),
    "network": ({"networkMode": "bridge"}, "network mode 'awsvpc'"),
    "ec2": ({"requiresCompatibilities": ["EC2"]}, "Fargate only"),
    "stop": (
        {"containerDefinitions": [{"name": "a", "image": "i", "stopTimeout": 121}]},
        "stopTimeout",
    ),
    "logs without a role": (
        {"containerDefinitions": [{"name": "a", "image": "i", "logConfiguration": {"logDriver": "awslogs"}}]},
        "execution role",
    ),
    "secrets without a role": (
        {"containerDefinitions": [{"name": "a", "image": "i", "secrets": [{"name": "S", "valueFrom": "x"}]}]},
        "executionRoleArn",
    ),
    "twins": (
        {"containerDefinitions": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]},
        "unique",
    ),
    "family": ({"family": "a b"}, "invalid characters"),
    "role of another account": (
        {"taskRoleArn": "arn:aws:iam::999999999999:role/r"},
        "Cross-account pass role is not allowed",
    ),
    "nothing essential": (
        {"containerDefinitions": [{"name": "a", "image": "i", "essential": False}]},
        "essential",
    ),
    "tmpfs": (_container(linuxParameters={"tmpfs": [{"containerPath": "/tmp", "size": 1}]}), "tmpfs"),
    "privileged": (_container(privileged=True), "privileged"),
    "capability": (_container(linuxParameters={"capabilities": {"add": ["NET_ADMIN"]}}), "SYS_PTRACE"),
    "volume": (_container(mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}]), "Unknown volume 'v'"),
    "mount of the host": (
        {
            "volumes": [{"name": "v"}],
            **_container(mountPoints=[{"sourceVolume": "v", "containerPath": "/etc:/host:rw"}]),
        },
        "without a colon, not '/etc:/host:rw'",
    ),
    "relative mount": (
        {"volumes": [{"name": "v"}], **_container(mountPoints=[{"sourceVolume": "v", "containerPath": "v"}])},
        "an absolute path",
    ),
    "container's name": (_container(name="../../x"), "Container name contains invalid characters"),
    "port": (_container(portMappings=[{"containerPort": 70000}]), "from 1 to 65535, not 70000"),
    "host": ({"volumes": [{"name": "v", "host": {"sourcePath": "/v"}}]}, "no host"),
    "one name twice": (
        {
            **_container(
                environment=[{"name": "A", "value": "1"}], secrets=[{"name": "A", "valueFrom": "x"}]
            ),
            "executionRoleArn": "r",
        },
        "must be unique",
    ),
    "health command": (_container(healthCheck={"command": ["true"]}), "must start with CMD"),
    "health interval": (_container(healthCheck={"command": ["CMD", "x"], "interval": 1}), "from 5 to 300"),
    "unknown dependency": (_depending("z"), "depends on 'z', which is not"),
    "dependency on itself": (_depending("a"), "cycle"),
    "circle of dependencies": (_depending("b", "c", "d", "b"), "cycle"),
    "dependency without a health check": (_depending("b", "", condition="HEALTHY"), "no health check"),
    "condition": (_depending("b", "", condition="READY"), "'READY' .* must be one of START"),
    "storage": ({"ephemeralStorage": {"sizeInGiB": 20}}, "from 21 to 200"),
    "architecture": ({"runtimePlatform": {"cpuArchitecture": "RISCV"}}, "ARM64"),
    "volume driver": ({"proxyConfiguration": {"containerName": "a"}}, "proxyConfiguration"),
}


@pytest.mark.parametrize(("changes", "words"), _BAD_TASKS.values(), ids=_BAD_TASKS.keys())
def test_a_task_definition_that_fargate_does_not_run_is_refused(
    standing: Account, changes: dict[str, Any], words: str
) -> None:
    request = {name: value for name, value in task_definition(**changes).items() if value != ""}
    with pytest.raises(ClientError, match=words):
        standing.client("ecs").register_task_definition(**request)


def test_containers_may_depend_on_the_same_one(fresh: Account) -> None:
    request = task_definition(**_depending("d", "a", "a", ""))
    for container in request["containerDefinitions"][1:3]:
        container["dependsOn"] += [{"containerName": "d", "condition": "HEALTHY"}]
    request["containerDefinitions"][3]["healthCheck"] = {"command": ["CMD", "true"]}
    fresh.client("ecs").register_task_definition(**request)


def test_container_insights_are_kept(fresh: Account) -> None:
    client = fresh.client("ecs")
    client.create_cluster(clusterName="c", settings=[{"name": "containerInsights", "value": "enhanced"}])
    found = client.describe_clusters(clusters=["c"], include=["SETTINGS"])["clusters"][0]
    assert found["settings"] == [{"name": "containerInsights", "value": "enhanced"}]


def test_creating_a_cluster_again_keeps_it(fresh: Account) -> None:
    client = fresh.client("ecs")
    client.create_cluster(clusterName="c", settings=[{"name": "containerInsights", "value": "enabled"}])
    client.create_cluster(clusterName="c")
    found = client.describe_clusters(clusters=["c"], include=["SETTINGS"])["clusters"][0]
    assert found["settings"] == [{"name": "containerInsights", "value": "enabled"}]


def test_unknown_tasks_are_reported_as_missing(ecs: Ecs) -> None:
    found = ecs.client.describe_tasks(cluster="c", tasks=["0123456789abcdef0123456789abcdef"])
    assert [failure["reason"] for failure in found["failures"]] == ["MISSING"]
    with pytest.raises(ClientError, match="task was not found"):
        ecs.client.stop_task(cluster="c", task="0123456789abcdef0123456789abcdef")


def test_task_definitions_are_listed_latest_first_on_request(ecs: Ecs) -> None:
    for _ in range(10):
        ecs.client.register_task_definition(**task_definition())
    ecs.client.deregister_task_definition(taskDefinition="t:10")
    pages = ecs.client.get_paginator("list_task_definitions").paginate(familyPrefix="t", sort="DESC")
    found = [arn for page in pages for arn in page["taskDefinitionArns"]]
    assert [arn.rsplit(":", 1)[1] for arn in found[:3]] == ["11", "9", "8"]

"""UpdateService checks what the request names, and nothing else: what a service refers to may have been deleted since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import Account, Network
from tests.local.ecs_cluster import Ecs, cluster, task_definition


@pytest.fixture
def ecs(fresh: Account, network: Network) -> Iterator[Ecs]:
    with cluster(fresh, network) as made:
        made.client.create_service(**{**made.service, "desiredCount": 0})
        yield made


def _delete_listener(ecs: Ecs) -> None:
    elb = ecs.account.client("elbv2")
    balancer = elb.describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]
    for listener in elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]:
        elb.delete_listener(ListenerArn=listener["ListenerArn"])


def _delete_group(ecs: Ecs) -> None:
    _delete_listener(ecs)
    ecs.account.client("elbv2").delete_target_group(TargetGroupArn=ecs.target_group)


def _deregister(ecs: Ecs) -> None:
    ecs.client.deregister_task_definition(taskDefinition="t:1")


def _delete_definition(ecs: Ecs) -> None:
    _deregister(ecs)
    ecs.client.delete_task_definitions(taskDefinitions=["t:1"])


_CHANGES: dict[str, dict[str, Any]] = {
    "no tasks": {"desiredCount": 0},
    "tags": {"enableECSManagedTags": False},
    "percents": {"deploymentConfiguration": {"maximumPercent": 150, "minimumHealthyPercent": 100}},
    "grace period": {"healthCheckGracePeriodSeconds": 30},
}


@pytest.mark.parametrize("changes", _CHANGES.values(), ids=_CHANGES)
@pytest.mark.parametrize("lose", [_delete_listener, _delete_group, _deregister, _delete_definition])
def test_a_change_is_not_refused_for_what_it_does_not_name(
    ecs: Ecs, lose: Callable[[Ecs], None], changes: dict[str, Any]
) -> None:
    lose(ecs)
    ecs.client.update_service(cluster="c", service="s", **changes)


def test_the_target_group_is_checked_where_the_request_names_it(ecs: Ecs) -> None:
    _delete_listener(ecs)
    with pytest.raises(ClientError, match="does not have an associated load balancer"):
        ecs.client.update_service(cluster="c", service="s", loadBalancers=ecs.service["loadBalancers"])


def test_a_task_definition_must_have_the_container_of_the_load_balancer(ecs: Ecs) -> None:
    other = [{"name": "other", "image": "example/web", "portMappings": [{"containerPort": 3000}]}]
    ecs.client.register_task_definition(**task_definition(containerDefinitions=other))
    with pytest.raises(ClientError, match="The container web does not exist in the task definition"):
        ecs.client.update_service(cluster="c", service="s", taskDefinition="t")


def test_the_percents_are_checked_with_those_that_the_request_leaves(ecs: Ecs) -> None:
    with pytest.raises(ClientError, match="maximumPercent cannot be less than"):
        ecs.client.update_service(
            cluster="c", service="s", deploymentConfiguration={"minimumHealthyPercent": 300}
        )

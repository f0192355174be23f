"""Validates services as ECS does. Messages have the wording of ECS where it is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from moto.ec2 import ec2_backends
from moto.ec2.exceptions import InvalidSecurityGroupNotFoundError, InvalidSubnetIdError
from moto.elbv2 import elbv2_backends

from mclass_tf.local.aws.ecs.api import strategy_checks
from mclass_tf.local.aws.ecs.model.errors import invalid

FARGATE_PROVIDERS = ("FARGATE", "FARGATE_SPOT")

_WHOLE = 100
_BAKE_MINUTES = range(1440 + 1)
_THRESHOLDS = ("COUNT", "BOUNDED_PERCENT", "UNBOUNDED_PERCENT")
_MOST = {"subnets": 16, "securityGroups": 5}
_PUBLIC_IP = ("ENABLED", "DISABLED")
_CHOICES = {
    "availabilityZoneRebalancing": ("ENABLED", "DISABLED"),
    "propagateTags": ("NONE", "SERVICE", "TASK_DEFINITION"),
    "schedulingStrategy": ("REPLICA",),
}


def check_service(
    settings: Mapping[str, Any],
    *,
    named: AbstractSet[str],
    cluster: Any,
    task_definition: Any,
    account_id: str,
    region: str,
) -> None:
    """Raise InvalidParameterException for settings that ECS rejects, among those that the request has `named`.

    UpdateService does not look at what it does not change: what a service refers to may have been deleted since, and
    `desiredCount` 0 must still be possible (`terraform destroy` deletes the listener first). `named` also contains the parts of
    the deployment configuration, such as `deploymentConfiguration.strategy`.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
    """
    for name in named & _CHOICES.keys():
        if settings[name] not in _CHOICES[name]:
            raise invalid(f"{name} should be one of [{','.join(_CHOICES[name])}], not {settings[name]}.")
    if settings["desiredCount"] < 0:
        raise invalid("Desired count should be greater than or equal to 0.")
    if named & {"deploymentConfiguration", "availabilityZoneRebalancing"}:
        _check_percents(settings)
        _check_detection(settings)
    if named & {"capacityProviderStrategy", "launchType"}:
        check_capacity(settings, cluster=cluster)
    if "networkConfiguration" in named:
        check_network(settings, account_id=account_id, region=region)
    if "loadBalancers" in named:
        _check_load_balancers(settings["loadBalancers"], account_id=account_id, region=region)
    _check_with_load_balancers(settings, named=named, task_definition=task_definition)
    strategy_checks.check_strategy(settings, named=named, account_id=account_id, region=region)


def _check_detection(settings: Mapping[str, Any]) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html#failure-threshold"""
    configuration = settings["deploymentConfiguration"]
    if configuration.get("bakeTimeInMinutes", 0) not in _BAKE_MINUTES:
        raise invalid("bakeTimeInMinutes must be from 0 to 1440.")
    threshold = configuration["deploymentCircuitBreaker"].get("thresholdConfiguration")
    if not threshold:
        return
    if threshold.get("type") not in _THRESHOLDS:
        raise invalid(f"thresholdConfiguration.type should be one of [{','.join(_THRESHOLDS)}].")
    most = None if threshold["type"] == "COUNT" else _WHOLE
    value = threshold.get("value") or 0
    if value < 1 or (most is not None and value > most):
        raise invalid(
            f"thresholdConfiguration.value must be at least 1{f' and at most {most}' if most else ''}."
        )


def _check_percents(settings: Mapping[str, Any]) -> None:
    configuration = settings["deploymentConfiguration"]
    maximum, minimum = configuration["maximumPercent"], configuration["minimumHealthyPercent"]
    if maximum < minimum:
        raise invalid("maximumPercent cannot be less than minimumHealthyPercent.")
    if maximum == minimum == _WHOLE:
        raise invalid(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments."
        )
    # Of the limits that ECS documents, only this one can apply on Fargate. None concerns the strategy: rebalancing is the default of
    # new services with any strategy, and Express Mode combines it with CANARY.
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/express-service-work.html
    if settings["availabilityZoneRebalancing"] == "ENABLED" and maximum <= _WHOLE:
        raise invalid("Availability Zone Rebalancing does not support maximumPercent <= 100%")


def check_capacity(settings: Mapping[str, Any], *, cluster: Any) -> None:
    """Raise InvalidParameterException for an unknown launch type or capacity provider."""
    strategy = settings.get("capacityProviderStrategy")
    launch_type = settings.get("launchType")
    if strategy and launch_type:
        raise invalid("Specify either launchType or capacityProviderStrategy, but not both.")
    if not strategy:
        if launch_type != "FARGATE":
            raise invalid(f"The local AWS runs tasks on Fargate only, not on {launch_type or 'EC2'}.")
        return
    check_strategy(strategy, associated=cluster.capacity_providers or [])


def check_strategy(strategy: Iterable[Mapping[str, Any]], *, associated: Iterable[str]) -> None:
    entries = list(strategy)
    for entry in entries:
        if entry["capacityProvider"] not in associated:
            raise invalid(
                f"The capacity provider {entry['capacityProvider']} is not associated with the cluster."
            )
    if sum(1 for entry in entries if entry.get("base", 0) > 0) > 1:
        raise invalid("Only one capacity provider in a capacity provider strategy can have a base defined.")
    if not any(entry.get("weight", 0) > 0 for entry in entries):
        raise invalid("At least one capacity provider in a strategy must have a weight greater than 0.")


def check_network(settings: Mapping[str, Any], *, account_id: str, region: str) -> None:
    """Raise InvalidParameterException for subnets and security groups that ECS rejects.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_AwsVpcConfiguration.html
    """
    network = (settings.get("networkConfiguration") or {}).get("awsvpcConfiguration")
    if not network:
        raise invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if not network.get("subnets"):
        raise invalid("subnets can not be empty.")
    for name, most in _MOST.items():
        if len(network.get(name) or ()) > most:
            raise invalid(f"{name} can have at most {most} items.")
    if (network.get("assignPublicIp") or "DISABLED") not in _PUBLIC_IP:
        raise invalid(f"assignPublicIp should be one of [{','.join(_PUBLIC_IP)}].")
    ec2 = ec2_backends[account_id][region]
    group_ids = network.get("securityGroups")
    try:
        subnets = ec2.describe_subnets(subnet_ids=network["subnets"])
        groups = ec2.describe_security_groups(group_ids=group_ids) if group_ids else []
    except InvalidSubnetIdError as error:
        raise invalid(f"Error retrieving subnet information: {error.message}") from error
    except InvalidSecurityGroupNotFoundError as error:
        raise invalid(f"Error retrieving security group information: {error.message}") from error
    if len({placed.vpc_id for placed in (*subnets, *groups)}) > 1:
        raise invalid("All subnets and security groups must be in the same VPC.")


def _check_with_load_balancers(
    settings: Mapping[str, Any], *, named: AbstractSet[str], task_definition: Any
) -> None:
    """Check the grace period and the containers against the load balancers."""
    load_balancers, grace_period = settings["loadBalancers"], settings.get("healthCheckGracePeriodSeconds")
    if named & {"healthCheckGracePeriodSeconds", "loadBalancers"} and grace_period and not load_balancers:
        raise invalid("Health check grace period is only valid for services configured to use load balancers")
    if named & {"loadBalancers", "taskDefinition"}:
        for load_balancer in load_balancers:
            _check_container(load_balancer, containers=task_definition.container_definitions)


def _check_load_balancers(
    load_balancers: Iterable[Mapping[str, Any]], *, account_id: str, region: str
) -> None:
    groups = elbv2_backends[account_id][region].target_groups
    for load_balancer in load_balancers:
        arn = load_balancer.get("targetGroupArn")
        group = groups.get(arn)
        if group is None:
            raise invalid(f"The target group {arn} does not exist.")
        if not group.load_balancer_arns:
            raise invalid(
                f"The target group with targetGroupArn {arn} does not have an associated load balancer."
            )
        if group.target_type != "ip":
            raise invalid(
                f"The provided target group {arn} has target type {group.target_type}, which is incompatible with "
                "the awsvpc network mode specified in the task definition."
            )


def _check_container(load_balancer: Mapping[str, Any], *, containers: Iterable[Mapping[str, Any]]) -> None:
    name, port = load_balancer.get("containerName"), load_balancer.get("containerPort")
    container = next((entry for entry in containers if entry["name"] == name), None)
    if container is None:
        raise invalid(f"The container {name} does not exist in the task definition.")
    if port not in {mapping.get("containerPort") for mapping in container.get("portMappings") or []}:
        raise invalid(f"The container {name} did not have a container port {port} defined.")

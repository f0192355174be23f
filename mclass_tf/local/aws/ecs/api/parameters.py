"""The request parameters that the local AWS supports. Every other one is an error, never a silent success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mclass_tf.local.aws.ecs.model.errors import invalid

_MOST_TAGS = 50
_LONGEST_KEY = 128
_LONGEST_VALUE = 256

# Accepted, without effect on what is modelled.
_NEUTRAL = frozenset({"clientToken"})

# Accepted only if empty: tools send them empty.
_EMPTY_ONLY = frozenset(
    {
        "placementConstraints",
        "placementStrategy",
        "serviceRegistries",
        "volumeConfigurations",
        "vpcLatticeConfigurations",
    }
)

_COMMON = frozenset(
    {
        "availabilityZoneRebalancing",
        "capacityProviderStrategy",
        "cluster",
        "deploymentConfiguration",
        "deploymentController",
        "desiredCount",
        "enableECSManagedTags",
        "enableExecuteCommand",
        "healthCheckGracePeriodSeconds",
        "loadBalancers",
        "networkConfiguration",
        "platformVersion",
        "propagateTags",
        "serviceConnectConfiguration",
        "taskDefinition",
    }
)

CREATE_SERVICE = (
    _COMMON | _NEUTRAL | _EMPTY_ONLY | {"launchType", "schedulingStrategy", "serviceName", "tags"}
)
UPDATE_SERVICE = _COMMON | _EMPTY_ONLY | {"forceNewDeployment", "service"}
REGISTER_TASK_DEFINITION = frozenset(
    {
        "containerDefinitions",
        "cpu",
        "enableFaultInjection",
        "ephemeralStorage",
        "executionRoleArn",
        "family",
        "memory",
        "networkMode",
        "pidMode",
        "placementConstraints",
        "requiresCompatibilities",
        "runtimePlatform",
        "tags",
        "taskRoleArn",
        "volumes",
    }
)
RUN_TASK = (
    _NEUTRAL
    | _EMPTY_ONLY
    | {
        "capacityProviderStrategy",
        "cluster",
        "count",
        "enableECSManagedTags",
        "enableExecuteCommand",
        "group",
        "launchType",
        "networkConfiguration",
        "overrides",
        "platformVersion",
        "propagateTags",
        "referenceId",
        "startedBy",
        "tags",
        "taskDefinition",
    }
) - {"serviceRegistries", "vpcLatticeConfigurations"}
CREATE_CLUSTER = frozenset(
    {
        "capacityProviders",
        "clusterName",
        "configuration",
        "defaultCapacityProviderStrategy",
        "settings",
        "tags",
    }
)
UPDATE_CLUSTER = frozenset({"cluster", "configuration", "settings"})

_DEPLOYMENT_CONFIGURATION = frozenset(
    {
        "alarms",
        "bakeTimeInMinutes",
        "canaryConfiguration",
        "deploymentCircuitBreaker",
        "lifecycleHooks",
        "linearConfiguration",
        "maximumPercent",
        "minimumHealthyPercent",
        "strategy",
    }
)
_CIRCUIT_BREAKER = frozenset({"enable", "resetOnHealthyTask", "rollback", "thresholdConfiguration"})
_ALARMS = frozenset({"alarmNames", "enable", "rollback"})
_CANARY = frozenset({"canaryBakeTimeInMinutes", "canaryPercent"})
_LINEAR = frozenset({"stepBakeTimeInMinutes", "stepPercent"})
_HOOK = frozenset(
    {"hookDetails", "hookTargetArn", "lifecycleStages", "roleArn", "targetType", "timeoutConfiguration"}
)
_TIMEOUT = frozenset({"action", "timeoutInMinutes"})
_ADVANCED = frozenset({"alternateTargetGroupArn", "productionListenerRule", "roleArn", "testListenerRule"})
_LOAD_BALANCER = frozenset({"advancedConfiguration", "containerName", "containerPort", "targetGroupArn"})
_WITHIN_DEPLOYMENT = {
    "alarms": _ALARMS,
    "canaryConfiguration": _CANARY,
    "deploymentCircuitBreaker": _CIRCUIT_BREAKER,
    "linearConfiguration": _LINEAR,
}


_OVERRIDES = frozenset(
    {"containerOverrides", "cpu", "ephemeralStorage", "executionRoleArn", "memory", "taskRoleArn"}
)
# memoryReservation reserves memory on container instances. On Fargate, ECS also describes it without effect.
_CONTAINER_OVERRIDE = frozenset({"command", "cpu", "environment", "memory", "memoryReservation", "name"})


def check_overrides(overrides: Mapping[str, Any]) -> None:
    """Raise InvalidParameterException for an override that is not modelled, unless it is empty."""
    _check_names(_without_empty(overrides), honoured=_OVERRIDES, within="overrides")
    for override in overrides.get("containerOverrides") or []:
        within = "overrides.containerOverrides"
        _check_names(_without_empty(override), honoured=_CONTAINER_OVERRIDE, within=within)


def _without_empty(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value not in (None, [], {})}


def check(request: Mapping[str, Any], *, honoured: frozenset[str]) -> None:
    """Raise InvalidParameterException for a parameter that is not modelled."""
    for name, value in request.items():
        if name not in honoured:
            raise invalid(f"The local AWS does not model the parameter {name}.")
        if name in _EMPTY_ONLY and value:
            raise invalid(f"The local AWS does not model {name}: it must be empty.")
    check_tags(request.get("tags") or [])
    _check_deployment(request.get("deploymentConfiguration") or {})
    for load_balancer in request.get("loadBalancers") or []:
        _check_names(load_balancer, honoured=_LOAD_BALANCER, within="loadBalancers")
        advanced = load_balancer.get("advancedConfiguration") or {}
        _check_names(advanced, honoured=_ADVANCED, within="loadBalancers.advancedConfiguration")
    controller = (request.get("deploymentController") or {}).get("type", "ECS")
    if controller != "ECS":
        raise invalid(f"The local AWS does not model the deployment controller {controller}.")
    if (request.get("serviceConnectConfiguration") or {}).get("enabled"):
        raise invalid("The local AWS does not model Service Connect.")


def check_tags(tags: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidParameterException for tags that ECS rejects.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html#tag-restrictions
    """
    if len(tags) > _MOST_TAGS:
        raise invalid(f"A resource can have at most {_MOST_TAGS} tags.")
    for tag in tags:
        if not 1 <= len(tag.get("key") or "") <= _LONGEST_KEY:
            raise invalid(f"The key of a tag must have 1 to {_LONGEST_KEY} characters.")
        if len(tag.get("value") or "") > _LONGEST_VALUE:
            raise invalid(f"The value of a tag can have at most {_LONGEST_VALUE} characters.")


def _check_deployment(configuration: Mapping[str, Any]) -> None:
    asked = {name: value for name, value in configuration.items() if value not in (None, 0, [], {})}
    _check_names(asked, honoured=_DEPLOYMENT_CONFIGURATION, within="deploymentConfiguration")
    for name, honoured in _WITHIN_DEPLOYMENT.items():
        within = f"deploymentConfiguration.{name}"
        _check_names(configuration.get(name) or {}, honoured=honoured, within=within)
    for hook in configuration.get("lifecycleHooks") or ():
        within = "deploymentConfiguration.lifecycleHooks"
        _check_names(hook, honoured=_HOOK, within=within)
        timeout = hook.get("timeoutConfiguration") or {}
        _check_names(timeout, honoured=_TIMEOUT, within=f"{within}.timeoutConfiguration")


def _check_names(given: Mapping[str, Any], *, honoured: frozenset[str], within: str) -> None:
    for name in given:
        if name not in honoured:
            raise invalid(f"The local AWS does not model {within}.{name}.")

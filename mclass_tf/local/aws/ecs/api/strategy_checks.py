"""Validates deployment strategies as ECS does: percentages, hooks, and the load balancers that shift traffic.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_AdvancedConfiguration.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CanaryConfiguration.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LinearConfiguration.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentLifecycleHook.html
The limits are those of ECS; its messages are not documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from moto.elbv2 import elbv2_backends

from mclass_tf.local.aws import functions
from mclass_tf.local.aws.ecs.model.errors import invalid
from mclass_tf.local.aws.ecs.model.stages import FUNCTION_STAGES, LAMBDA, PAUSE, PAUSE_STAGES, ROLLING
from mclass_tf.local.aws.ecs.preconditions import roles
from mclass_tf.local.aws.ecs.scheduler import traffic
from mclass_tf.local.aws.policies import NotModelledError

STRATEGIES = (ROLLING, "BLUE_GREEN", "LINEAR", "CANARY")
_NEEDS_LOAD_BALANCER = ("LINEAR", "CANARY")
_MOST_MINUTES = 1440
_MOST_TIMEOUTS = {LAMBDA: 1440, PAUSE: 20160}
_STAGES_OF = {LAMBDA: FUNCTION_STAGES, PAUSE: PAUSE_STAGES}
_ACTIONS = ("CONTINUE", "ROLLBACK")
_NEEDED = ("alternateTargetGroupArn", "productionListenerRule", "roleArn")


@dataclass(frozen=True, kw_only=True)
class _StepLimits:
    strategy: str
    percent: str
    least: float
    minutes: str


_STEP_LIMITS = {
    "canaryConfiguration": _StepLimits(
        strategy="CANARY", percent="canaryPercent", least=0.1, minutes="canaryBakeTimeInMinutes"
    ),
    "linearConfiguration": _StepLimits(
        strategy="LINEAR", percent="stepPercent", least=3.0, minutes="stepBakeTimeInMinutes"
    ),
}


def check_strategy(
    settings: Mapping[str, Any], *, named: AbstractSet[str], account_id: str, region: str
) -> None:
    """Raise InvalidParameterException for a strategy that ECS rejects.

    Functions, rules, groups and roles must exist where the request has `named` what refers to them.
    """
    configuration = settings["deploymentConfiguration"]
    strategy = configuration["strategy"]
    if strategy not in STRATEGIES:
        raise invalid(f"strategy should be one of [{','.join(STRATEGIES)}], not {strategy}.")
    for name, limits in _STEP_LIMITS.items():
        _check_steps(configuration.get(name), name=name, limits=limits, strategy=strategy)
    if "deploymentConfiguration.lifecycleHooks" in named:
        for hook in configuration.get("lifecycleHooks") or ():
            _check_hook(hook)
    if named & {"loadBalancers", "deploymentConfiguration.strategy"}:
        _check_wiring(settings, strategy=strategy, account_id=account_id, region=region)


def _check_wiring(settings: Mapping[str, Any], *, strategy: str, account_id: str, region: str) -> None:
    load_balancers = settings["loadBalancers"]
    if strategy in _NEEDS_LOAD_BALANCER and not load_balancers:
        raise invalid(f"The deployment strategy {strategy} requires a load balancer.")
    for load_balancer in load_balancers:
        advanced = load_balancer.get("advancedConfiguration")
        if not advanced and strategy != ROLLING:
            raise invalid(
                f"advancedConfiguration is required in loadBalancers with the deployment strategy {strategy}."
            )
        if advanced:
            _check_load_balancer(load_balancer, advanced, account_id=account_id, region=region)


def check_bake_time(requested: Mapping[str, Any], *, strategy: str) -> None:
    """Raise InvalidParameterException if the request sets a bake time for ROLLING.

    ECS documents it for the strategies that shift traffic, and may refuse it for others. A bake time of an earlier strategy
    stays in the service.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
    """
    if strategy == ROLLING and requested.get("bakeTimeInMinutes") is not None:
        raise invalid(f"bakeTimeInMinutes is not valid with the deployment strategy {ROLLING}.")


def check_migration(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise InvalidParameterException for a change of the strategy or of the wiring while a deployment is under way.

    "The service has no ongoing deployments" is a prerequisite of both directions. The message is not documented.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/update-rolling-to-bluegreen.html
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/update-bluegreen-to-rolling.html
    """
    if _strategy(before) != _strategy(after):
        raise invalid(
            f"The deployment strategy cannot be changed from {_strategy(before)} to {_strategy(after)} while the service has an "
            "ongoing deployment."
        )
    if _wirings(before) != _wirings(after):
        raise invalid("advancedConfiguration cannot be changed while the service has an ongoing deployment.")


def _strategy(settings: Mapping[str, Any]) -> str:
    return str(settings["deploymentConfiguration"]["strategy"])


def _wirings(settings: Mapping[str, Any]) -> list[Any]:
    return [entry.get("advancedConfiguration") for entry in settings["loadBalancers"]]


def _check_steps(given: Mapping[str, Any] | None, *, name: str, limits: _StepLimits, strategy: str) -> None:
    if given is None:
        return
    if strategy != limits.strategy:
        raise invalid(
            f"{name} is only valid with the deployment strategy {limits.strategy}, not with {strategy}."
        )
    if not limits.least <= given[limits.percent] <= 100:  # noqa: PLR2004  per cent
        raise invalid(f"{name}.{limits.percent} must be from {limits.least} to 100.0.")
    # A division would not do: 0.3 / 0.1 is not exactly 3.
    if round(given[limits.percent], 1) != given[limits.percent]:
        raise invalid(f"{name}.{limits.percent} must be a multiple of 0.1.")
    minutes = given[limits.minutes]
    if minutes != int(minutes) or not 0 <= minutes <= _MOST_MINUTES:
        raise invalid(f"{name}.{limits.minutes} must be from 0 to {_MOST_MINUTES}.")


def _check_hook(hook: Mapping[str, Any]) -> None:
    kind = hook.get("targetType") or LAMBDA
    if kind not in _STAGES_OF:
        raise invalid(f"lifecycleHooks.targetType should be one of [{','.join(_STAGES_OF)}], not {kind}.")
    stages = hook.get("lifecycleStages") or ()
    if not stages:
        raise invalid("lifecycleHooks.lifecycleStages can not be empty.")
    for stage in stages:
        if stage not in _STAGES_OF[kind]:
            known = ",".join(_STAGES_OF[kind])
            raise invalid(f"{kind} hooks cannot be configured at {stage}: only at [{known}].")
    _check_timeout(hook.get("timeoutConfiguration") or {}, most=_MOST_TIMEOUTS[kind])
    if kind == LAMBDA:
        _check_function(hook)
    elif hook.get("hookTargetArn") or hook.get("roleArn") or hook.get("hookDetails"):
        raise invalid("hookTargetArn, roleArn and hookDetails are not applicable to PAUSE hooks.")


def _check_function(hook: Mapping[str, Any]) -> None:
    for name in ("hookTargetArn", "roleArn"):
        if not hook.get(name):
            raise invalid(f"lifecycleHooks.{name} can not be blank with the targetType {LAMBDA}.")
    if not isinstance(hook.get("hookDetails") or {}, Mapping):
        raise invalid("lifecycleHooks.hookDetails must be a JSON object.")
    try:
        refusal = roles.invocation_refusal(hook["roleArn"], function_arn=hook["hookTargetArn"])
    except NotModelledError as error:
        raise invalid(f"The local AWS cannot evaluate the policies of {hook['roleArn']}: {error}.") from error
    refusal = refusal or functions.refusal(hook["hookTargetArn"])
    if refusal is not None:
        raise invalid(f"{refusal}.")


def _check_timeout(timeout: Mapping[str, Any], *, most: int) -> None:
    if not 1 <= timeout.get("timeoutInMinutes", 1) <= most:
        raise invalid(f"timeoutConfiguration.timeoutInMinutes must be from 1 to {most}.")
    if timeout.get("action", "ROLLBACK") not in _ACTIONS:
        raise invalid(f"timeoutConfiguration.action should be one of [{','.join(_ACTIONS)}].")


def _check_load_balancer(
    load_balancer: Mapping[str, Any], advanced: Mapping[str, Any], *, account_id: str, region: str
) -> None:
    for name in _NEEDED:
        if not advanced.get(name):
            raise invalid(f"advancedConfiguration.{name} can not be blank.")
    groups = (str(load_balancer.get("targetGroupArn")), str(advanced["alternateTargetGroupArn"]))
    if groups[0] == groups[1]:
        raise invalid("alternateTargetGroupArn must not be the targetGroupArn.")
    _check_alternate(groups, account_id=account_id, region=region)
    rules = [advanced["productionListenerRule"]]
    if advanced.get("testListenerRule"):
        rules.append(advanced["testListenerRule"])
    if len(set(rules)) != len(rules):
        raise invalid("productionListenerRule and testListenerRule must be different listener rules.")
    for rule_arn in rules:
        rule = traffic.find_rule(account_id, region, rule_arn)
        if rule is None:
            raise invalid(f"The listener rule {rule_arn} does not exist.")
        if rule.is_default:
            raise invalid(f"The local AWS does not model shifting traffic in a default rule: {rule_arn}.")
        _check_role(advanced["roleArn"], rule_arn=rule_arn, groups=groups)


def _check_alternate(groups: tuple[str, str], *, account_id: str, region: str) -> None:
    known = elbv2_backends[account_id][region].target_groups
    main, alternate = known.get(groups[0]), known.get(groups[1])
    if alternate is None:
        raise invalid(f"The target group {groups[1]} does not exist.")
    if main is not None and (main.target_type, main.vpc_id) != (alternate.target_type, alternate.vpc_id):
        raise invalid(f"The target groups {groups[0]} and {groups[1]} must have one target type and one VPC.")


def _check_role(role_arn: str, *, rule_arn: str, groups: tuple[str, str]) -> None:
    try:
        refusal = roles.infrastructure_refusal(role_arn, rule_arn=rule_arn, groups=groups)
    except NotModelledError as error:
        raise invalid(f"The local AWS cannot evaluate the policies of {role_arn}: {error}.") from error
    if refusal is not None:
        raise invalid(f"{refusal}.")

"""Shifts traffic as ECS does: modifies the weights of listener rules, if the infrastructure role allows it.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/alb-resources-for-blue-green.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.elbv2 import elbv2_backends

from mclass_tf.local.aws.ecs.preconditions import roles
from mclass_tf.local.aws.policies import NotModelledError

_WHOLE, _FINE = 100, 1000  # totals in per cent and in tenths of it; a weight is an integer of at most 999


class TrafficError(Exception):
    """The listener rule cannot be modified; the message says why."""


def weights_for(percent: float, *, own: str, other: str) -> dict[str, int]:
    """Return weights that give `own` this percentage of the traffic, and `other` the rest."""
    if percent == int(percent):
        return {own: int(percent), other: _WHOLE - int(percent)}
    tenths = max(1, round(percent * _FINE / _WHOLE))
    return {own: tenths, other: _FINE - tenths}


def find_rule(account_id: str, region: str, rule_arn: str) -> Any:
    """Return moto's listener rule, or None."""
    balancers = elbv2_backends[account_id][region].load_balancers.values()
    listeners = (listener for balancer in balancers for listener in balancer.listeners.values())
    rules = (rule for listener in listeners for rule in listener.rules.values())
    return next((rule for rule in rules if rule.arn == rule_arn), None)


def weights(account_id: str, region: str, rule_arn: str) -> dict[str, int]:
    """Return the weights by target group; empty if the rule is deleted or does not forward."""
    forward = _forward(find_rule(account_id, region, rule_arn))
    groups = (forward.get("ForwardConfig") or {}).get("TargetGroups")
    if not groups:
        return {forward["TargetGroupArn"]: 1} if "TargetGroupArn" in forward else {}
    return {entry["TargetGroupArn"]: int(entry.get("Weight", 1)) for entry in groups}


def shift(
    account_id: str, region: str, rule_arn: str, new_weights: Mapping[str, int], *, role_arn: str | None
) -> None:
    """Set the weights of a rule and keep its stickiness. Raise TrafficError if that fails."""
    rule = find_rule(account_id, region, rule_arn)
    if rule is None:
        raise TrafficError(f"the listener rule {rule_arn} does not exist")
    try:
        refusal = roles.infrastructure_refusal(role_arn or "", rule_arn=rule_arn, groups=tuple(new_weights))
    except NotModelledError as error:
        raise TrafficError(f"the local AWS cannot evaluate the policies of {role_arn}: {error}") from error
    if refusal is not None:
        raise TrafficError(refusal)
    other = _other_action(account_id, region, rule.listener_arn)
    if other is not None:
        raise TrafficError(
            f"the listener {rule.listener_arn} has a rule with the action {other}, and ECS shifts traffic only on listeners whose "
            "rules all forward"
        )
    sticky = (_forward(rule).get("ForwardConfig") or {}).get("TargetGroupStickinessConfig")
    forward = {
        "TargetGroups": [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in new_weights.items()],
        **({"TargetGroupStickinessConfig": sticky} if sticky else {}),
    }
    try:
        elbv2_backends[account_id][region].modify_rule(
            rule_arn, [], [{"Type": "forward", "Order": 1, "ForwardConfig": forward}]
        )
    except Exception as error:
        raise TrafficError(str(getattr(error, "message", error))) from error


def _other_action(account_id: str, region: str, listener_arn: str) -> str | None:
    """Return an action of the listener other than "forward", or None.

    Versions of AWS's page on this differ. Those that say so, say that the deployment fails:
    https://docs.aws.amazon.com/de_de/AmazonECS/latest/developerguide/alb-resources-for-blue-green.html
    """
    balancers = elbv2_backends[account_id][region].load_balancers.values()
    rules = (
        rule
        for balancer in balancers
        for listener in balancer.listeners.values()
        if listener.arn == listener_arn
        for rule in listener.rules.values()
    )
    kinds = (str(action.data.get("Type")) for rule in rules for action in rule.actions)
    return next((kind for kind in kinds if kind != "forward"), None)


def _forward(rule: Any) -> Mapping[str, Any]:
    actions = () if rule is None else rule.actions
    forward: Mapping[str, Any] = next(
        (action.data for action in actions if action.data.get("Type") == "forward"), {}
    )
    return forward

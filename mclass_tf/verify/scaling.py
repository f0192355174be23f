"""Checks of autoscaling: its bounds, and the measures that it follows."""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf.verify.check import Comparison, NotApplicableError, contains, equal, holds, registry
from mclass_tf.verify.world import Item, World

check = registry.group("autoscaling")

MEASURES = (
    "ALBRequestCountPerTarget",
    "ECSServiceAverageCPUUtilization",
    "ECSServiceAverageMemoryUtilization",
)


@check(
    "the service scales between the bounds of the outputs",
    hint="autoscaling in terraform.tfvars; somebody changed the scalable target since the last apply",
)
def bounds(world: World) -> Iterator[Comparison]:
    expected = world.outputs.autoscaling
    if expected is None:
        raise NotApplicableError("the environment has no autoscaling (autoscaling is null)")
    found = (world.scalable_target["MinCapacity"], world.scalable_target["MaxCapacity"])
    yield equal("minimum and maximum", expected=(expected["min"], expected["max"]), found=found)
    sane = 0 <= found[0] <= found[1] and found[1] > 0
    yield holds("order of the bounds", sane, expected="0 <= minimum <= maximum", found=found)


@check(
    "the service follows CPU, memory and the requests per target",
    hint="the target-tracking policies of modules/ecs-service: cpu, memory and requests",
)
def policies(world: World) -> Iterator[Comparison]:
    _required(world)
    tracked = {_measure(policy) for policy in world.scaling_policies if _measure(policy)}
    yield contains("measures", required=MEASURES, found=tracked)
    for policy in world.scaling_policies:
        configuration = policy.get("TargetTrackingScalingPolicyConfiguration", {})
        target = configuration.get("TargetValue", 0)
        yield equal(policy["PolicyName"], expected="TargetTrackingScaling", found=policy["PolicyType"])
        yield holds(f"target of {policy['PolicyName']}", target > 0, expected="above 0", found=target)


@check(
    "the requests that scaling follows are those of this load balancer",
    hint="resource_label of the requests policy: app/<load balancer>/<id>/targetgroup/<target group>/<id>",
)
def request_label(world: World) -> Iterator[Comparison]:
    _required(world)
    label = world.outputs.alb_arn.partition("loadbalancer/")[2]
    groups = world.outputs.target_group_arns.values()
    expected = {f"{label}/targetgroup/{arn.partition('targetgroup/')[2]}" for arn in groups}
    for policy in world.scaling_policies:
        if _measure(policy) == "ALBRequestCountPerTarget":
            found = _metric(policy).get("ResourceLabel")
            yield holds("resource label", found in expected, expected=" or ".join(expected), found=found)


@check(
    "scaling is not suspended",
    hint="`aws application-autoscaling register-scalable-target` with SuspendedState all false resumes it",
)
def not_suspended(world: World) -> Iterator[Comparison]:
    _required(world)
    suspended = {what for what, is_so in world.scalable_target.get("SuspendedState", {}).items() if is_so}
    yield equal("suspended", expected=set(), found=suspended)


def _required(world: World) -> None:
    if world.outputs.autoscaling is None:
        raise NotApplicableError("the environment has no autoscaling (autoscaling is null)")


def _metric(policy: Item) -> Item:
    configuration = policy.get("TargetTrackingScalingPolicyConfiguration", {})
    metric: Item = configuration.get("PredefinedMetricSpecification", {})
    return metric


def _measure(policy: Item) -> str:
    return str(_metric(policy).get("PredefinedMetricType", ""))

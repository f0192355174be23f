"""Checks of autoscaling: its bounds and its metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mclass_tf.verify.check import Comparison, NotApplicableError, equal, holds, registry
from mclass_tf.verify.readers.reader import Item
from mclass_tf.verify.world import World

check = registry.group("autoscaling")

# Metrics, by the name of their target in the outputs. Requests are measured per target of one target group, or with metric math
# over both.
MEASURES = {
    "cpu_percent": "ECSServiceAverageCPUUtilization",
    "memory_percent": "ECSServiceAverageMemoryUtilization",
    "requests_per_target": "RequestCountPerTarget",
}


@check(
    "the service scales between the bounds of the outputs",
    hint="autoscaling in terraform.tfvars; somebody changed the scalable target since the last apply",
)
def bounds(world: World) -> Iterator[Comparison]:
    asked = _required(world)
    # At 0 tasks, before the first release, a minimum above 0 would have started tasks.
    lowest = asked["min"] if world.ecs.service["desiredCount"] else 0
    bounds = (
        world.autoscaling.scalable_target["MinCapacity"],
        world.autoscaling.scalable_target["MaxCapacity"],
    )
    yield equal("minimum and maximum", expected=(lowest, asked["max"]), actual=bounds)
    sane = 0 <= bounds[0] <= bounds[1] and bounds[1] > 0
    yield holds("order of the bounds", sane, expected="0 <= minimum <= maximum", actual=bounds)


@check(
    "the service scales on the metrics of the outputs, each with its target value",
    hint="the target-tracking policies of modules/ecs-service: cpu, memory and requests",
)
def policies(world: World) -> Iterator[Comparison]:
    asked = _expected_targets(world)
    targets = {_measure(policy): _target(policy) for policy in world.autoscaling.scaling_policies}
    for policy in world.autoscaling.scaling_policies:
        name, target = policy["PolicyName"], _target(policy)
        yield equal(f"type of {name}", expected="TargetTrackingScaling", actual=policy["PolicyType"])
        yield holds(f"target of {name}", target > 0, expected="above 0", actual=target)
    yield holds("policies", bool(targets), expected="at least one", actual=len(targets))
    for measure, expected in asked.items():
        yield equal(f"target of {measure}", expected=expected, actual=targets.get(measure))


@check(
    "the requests that scaling follows are those of this environment's target groups",
    hint="the requests policy must measure the blue and the green target group of this load balancer",
)
def request_groups(world: World) -> Iterator[Comparison]:
    _required(world)
    requests = [
        p for p in world.autoscaling.scaling_policies if _measure(p) == MEASURES["requests_per_target"]
    ]
    if not requests:
        raise NotApplicableError("no policy follows the requests")
    own = {_suffix(arn) for arn in world.outputs.target_group_arns.values()}
    for policy in requests:
        yield equal(f"target groups of {policy['PolicyName']}", expected=own, actual=_request_groups(policy))


@check(
    "scaling is not suspended",
    hint="`aws application-autoscaling register-scalable-target` with SuspendedState all false resumes it",
)
def not_suspended(world: World) -> Iterator[Comparison]:
    _required(world)
    suspended = {
        what for what, is_so in world.autoscaling.scalable_target.get("SuspendedState", {}).items() if is_so
    }
    yield equal("suspended", expected=set(), actual=suspended)


def _required(world: World) -> Mapping[str, int | None]:
    if world.outputs.autoscaling is None:
        raise NotApplicableError("the environment has no autoscaling (autoscaling is null)")
    return world.outputs.autoscaling


def _expected_targets(world: World) -> Mapping[str, int]:
    bounds = _required(world)
    return {measure: target for key, measure in MEASURES.items() if (target := bounds.get(key)) is not None}


def _tracking(policy: Item) -> Item:
    tracking: Item = policy.get("TargetTrackingScalingPolicyConfiguration", {})
    return tracking


def _target(policy: Item) -> float:
    return float(_tracking(policy).get("TargetValue", 0))


def _predefined(policy: Item) -> Item:
    metric: Item = _tracking(policy).get("PredefinedMetricSpecification", {})
    return metric


def _customised(policy: Item) -> Sequence[Item]:
    """Return the metrics of a customised specification: its single metric, or those of its metric math."""
    metric = _tracking(policy).get("CustomizedMetricSpecification", {})
    queries = [query["MetricStat"]["Metric"] for query in metric.get("Metrics", []) if "MetricStat" in query]
    return queries or ([metric] if metric else [])


def _measure(policy: Item) -> str:
    names = {str(metric.get("MetricName", "")) for metric in _customised(policy)}
    if names:
        return ", ".join(sorted(names))
    return str(_predefined(policy).get("PredefinedMetricType", "")).removeprefix("ALB")


def _request_groups(policy: Item) -> set[str]:
    """Return the measured target groups, as "targetgroup/<name>/<id>"."""
    label = str(_predefined(policy).get("ResourceLabel", ""))
    if label:
        return {label[label.index("targetgroup/") :]}
    return {
        str(dimension["Value"])
        for metric in _customised(policy)
        for dimension in metric.get("Dimensions", [])
        if dimension["Name"] == "TargetGroup"
    }


def _suffix(arn: str) -> str:
    return arn[arn.index("targetgroup/") :]

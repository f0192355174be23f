"""The minimum of the service's autoscaling, which Terraform leaves to the first release (docs/adr/0006)."""

from __future__ import annotations

from typing import Final

from mclass_tf.flows.deployer.deploy import Deployer

_COUNT: Final = "ecs:service:DesiredCount"


def set_scaling_minimum(deployer: Deployer) -> None:
    """Set the minimum capacity of the scalable target to that of the outputs."""
    outputs, session = deployer.outputs, deployer.session
    bounds, scaling = outputs.autoscaling, session.aws.autoscaling
    if bounds is None or bounds.get("min") is None:
        return
    minimum = int(bounds["min"] or 0)
    resource = f"service/{outputs.cluster_name}/{outputs.service_name}"
    targets = scaling.describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[resource], ScalableDimension=_COUNT
    )["ScalableTargets"]
    if [target["MinCapacity"] for target in targets] != [minimum]:
        deployer.require_lease()
        session.report(f"autoscaling minimum is now {minimum}")
        scaling.register_scalable_target(
            ServiceNamespace="ecs", ResourceId=resource, ScalableDimension=_COUNT, MinCapacity=minimum
        )

"""Service revisions: the configuration that a deployment deploys, frozen when it begins.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceRevision.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# The settings of a service revision. A change of one of them starts a deployment.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
DEPLOYED = (
    "capacityProviderStrategy",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "launchType",
    "loadBalancers",
    "networkConfiguration",
    "platformVersion",
    "propagateTags",
    "taskDefinition",
)
_DESCRIBED = (
    "capacityProviderStrategy",
    "launchType",
    "loadBalancers",
    "networkConfiguration",
    "platformVersion",
    "taskDefinition",
)


@dataclass(kw_only=True)
class Revision:
    """`settings` are those of the service, as ECS names them. `target_groups` has one entry per load balancer.

    `digests` are the image digests by container name, as far as they are known.
    """

    arn: str
    service_arn: str
    cluster_arn: str
    settings: Mapping[str, Any]
    images: Mapping[str, str]
    created_at: float
    target_groups: tuple[str, ...] = ()
    digests: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the revision as DescribeServiceRevisions does."""
        return {
            "serviceRevisionArn": self.arn,
            "serviceArn": self.service_arn,
            "clusterArn": self.cluster_arn,
            **{name: self.settings[name] for name in _DESCRIBED if self.settings.get(name) is not None},
            "platformFamily": "Linux",
            "serviceRegistries": [],
            "containerImages": [self._image(name, image) for name, image in self.images.items()],
            "guardDutyEnabled": False,
            "createdAt": self.created_at,
            "resolvedConfiguration": {
                "loadBalancers": [
                    {"targetGroupArn": group, **_production_rule(load_balancer)}
                    for load_balancer, group in self.load_balancer_groups()
                ]
            },
        }

    def load_balancer_groups(self) -> list[tuple[Mapping[str, Any], str]]:
        """Return the load balancers of the service, each with the target group of this revision."""
        load_balancers = self.settings.get("loadBalancers") or []
        return list(zip(load_balancers, self.target_groups, strict=True))

    def _image(self, name: str, image: str) -> dict[str, str]:
        digest = image.partition("@")[2] or self.digests.get(name)
        return {"containerName": name, "image": image, **({"imageDigest": digest} if digest else {})}


def choose_target_groups(
    load_balancers: Iterable[Mapping[str, Any]],
    *,
    in_use: Collection[str],
    is_shifting: bool,
    are_requested: bool,
) -> tuple[str, ...]:
    """Return the target group for each load balancer: the unused one if traffic is shifted, else the one in use.

    The first revision, and any without an alternate target group, uses `targetGroupArn`. If the request names the load
    balancers (`are_requested`), ECS takes their `targetGroupArn` for the one in use, right or wrong. Both revisions are in one
    target group then, if the request contradicts what ECS has resolved.
    https://github.com/hashicorp/terraform-provider-aws/issues/45678
    https://github.com/aws/containers-roadmap/issues/2853
    """
    return tuple(
        _target_group(entry, in_use=in_use, is_shifting=is_shifting, is_requested=are_requested)
        for entry in load_balancers
    )


def _target_group(
    load_balancer: Mapping[str, Any], *, in_use: Collection[str], is_shifting: bool, is_requested: bool
) -> str:
    main = str(load_balancer["targetGroupArn"])
    alternate = (load_balancer.get("advancedConfiguration") or {}).get("alternateTargetGroupArn")
    if not alternate or (main not in in_use and alternate not in in_use):
        return main
    is_main_used = is_requested or main in in_use
    return str(alternate) if is_main_used == is_shifting else main


def _production_rule(load_balancer: Mapping[str, Any]) -> dict[str, str]:
    rule = (load_balancer.get("advancedConfiguration") or {}).get("productionListenerRule")
    return {"productionListenerRule": rule} if rule else {}

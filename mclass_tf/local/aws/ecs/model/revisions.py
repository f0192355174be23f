"""Service revisions: what a deployment deploys, as it was when the deployment began.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceRevision.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# The settings of a service that belong to its revision: changing one of them starts a deployment.
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
    """`settings` are the service's, as ECS names them; `target_groups` those in which its tasks are, one for each load balancer;
    `digests` are the images' by container, once they are known.
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
        """Return it as DescribeServiceRevisions gives it."""
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
        """The service's load balancers, each with the target group that this revision uses."""
        load_balancers = self.settings.get("loadBalancers") or []
        return list(zip(load_balancers, self.target_groups, strict=True))

    def _image(self, name: str, image: str) -> dict[str, str]:
        digest = image.partition("@")[2] or self.digests.get(name)
        return {"containerName": name, "image": image, **({"imageDigest": digest} if digest else {})}


def choose_target_groups(
    load_balancers: Iterable[Mapping[str, Any]], *, in_use: Collection[str], is_shifting: bool
) -> tuple[str, ...]:
    """Return the group for each load balancer: where traffic is shifted the one that is not in use, else the one that is.

    A service without a revision begins with `targetGroupArn`; so does one that has no alternate target group.
    """
    return tuple(
        _choose_target_group(load_balancer, in_use=in_use, is_shifting=is_shifting)
        for load_balancer in load_balancers
    )


def _choose_target_group(
    load_balancer: Mapping[str, Any], *, in_use: Collection[str], is_shifting: bool
) -> str:
    main = str(load_balancer["targetGroupArn"])
    alternate = (load_balancer.get("advancedConfiguration") or {}).get("alternateTargetGroupArn")
    if not alternate or (main not in in_use and alternate not in in_use):
        return main
    return str(alternate) if (main in in_use) == is_shifting else main


def _production_rule(load_balancer: Mapping[str, Any]) -> dict[str, str]:
    rule = (load_balancer.get("advancedConfiguration") or {}).get("productionListenerRule")
    return {"productionListenerRule": rule} if rule else {}

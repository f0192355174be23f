"""Service revisions: what a deployment deploys, as it was when the deployment began.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceRevision.html
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """`settings` are the service's, as ECS names them; `digests` are the images' by container, once they are known."""

    arn: str
    service_arn: str
    cluster_arn: str
    settings: Mapping[str, Any]
    images: Mapping[str, str]
    created_at: float
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
                    {"targetGroupArn": wiring["targetGroupArn"]}
                    for wiring in self.settings.get("loadBalancers") or []
                ]
            },
        }

    def _image(self, name: str, image: str) -> dict[str, str]:
        digest = image.partition("@")[2] or self.digests.get(name)
        return {"containerName": name, "image": image, **({"imageDigest": digest} if digest else {})}

"""Elastic Load Balancing v2: application load balancers."""

from __future__ import annotations

from typing import Any

from moto.elb import urls as elb_urls
from moto.elbv2 import urls as elbv2_urls
from moto.elbv2.models import ELBv2Backend, elbv2_backends

from mclass_tf.local.aws.extend import use_backend


class Backend(ELBv2Backend):  # type: ignore[misc]  # moto is not typed for us
    def create_load_balancer(self, *args: Any, **kwargs: Any) -> Any:
        """Active at once. In AWS it is `provisioning` for some minutes; moto says so until it is described.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerState.html
        The provider waits 30 s before it asks for the second time: a local apply would spend them for nothing.
        """
        load_balancer = super().create_load_balancer(*args, **kwargs)
        load_balancer.activate()
        return load_balancer


def install() -> None:
    use_backend(backends=elbv2_backends, urls=elbv2_urls, backend=Backend)


_ = elb_urls

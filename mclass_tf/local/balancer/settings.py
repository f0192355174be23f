"""Parses the attributes of load balancers and target groups into settings.

https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CONNECT_TIMEOUT = 10.0  # seconds, for a connection to a target; not configurable


@dataclass(frozen=True, kw_only=True, slots=True)
class BalancerSettings:
    """Times in seconds. The clock's speed does not scale them, because clients and targets observe them."""

    idle_timeout: float = 60
    client_keep_alive: float = 3600
    drops_invalid_headers: bool = False
    preserves_host: bool = False
    desync_mode: str = "defensive"
    forwarded_for: str = "append"
    forwards_client_port: bool = False
    adds_tls_headers: bool = False
    logs_access: bool = False

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> BalancerSettings:
        return cls(
            idle_timeout=_number(attributes, "idle_timeout.timeout_seconds", 60),
            client_keep_alive=_number(attributes, "client_keep_alive.seconds", 3600),
            drops_invalid_headers=_on(attributes, "routing.http.drop_invalid_header_fields.enabled"),
            preserves_host=_on(attributes, "routing.http.preserve_host_header.enabled"),
            desync_mode=attributes.get("routing.http.desync_mitigation_mode", "defensive"),
            forwarded_for=attributes.get("routing.http.xff_header_processing.mode", "append"),
            forwards_client_port=_on(attributes, "routing.http.xff_client_port.enabled"),
            adds_tls_headers=_on(attributes, "routing.http.x_amzn_tls_version_and_cipher_suite.enabled"),
            logs_access=_on(attributes, "access_logs.s3.enabled"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSettings:
    """Times in seconds. The clock's speed scales `slow_start`, but not the durations of cookies."""

    algorithm: str = "round_robin"
    slow_start: float = 0
    is_sticky: bool = False
    stickiness_type: str = "lb_cookie"
    stickiness_seconds: int = 86400
    application_cookie: bytes = b""
    fewest_healthy: int = 1
    fewest_healthy_percentage: float = 0

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> GroupSettings:
        kind = attributes.get("stickiness.type", "lb_cookie")
        routing = "target_group_health.unhealthy_state_routing.minimum_healthy_targets"
        return cls(
            algorithm=attributes.get("load_balancing.algorithm.type", "round_robin"),
            slow_start=_number(attributes, "slow_start.duration_seconds", 0),
            is_sticky=_on(attributes, "stickiness.enabled"),
            stickiness_type=kind,
            stickiness_seconds=int(_number(attributes, f"stickiness.{kind}.duration_seconds", 86400)),
            application_cookie=attributes.get("stickiness.app_cookie.cookie_name", "").encode(),
            fewest_healthy=int(_number(attributes, f"{routing}.count", 1)),
            fewest_healthy_percentage=_number(attributes, f"{routing}.percentage", 0, off=0),
        )


def _on(attributes: Mapping[str, str], name: str) -> bool:
    return attributes.get(name, "false") == "true"


def _number(attributes: Mapping[str, str], name: str, default: float, *, off: float | None = None) -> float:
    """Return a numeric attribute, `off` for "off" if given. Raise ValueError for other text."""
    text = attributes.get(name)
    if text is None:
        return default
    if text == "off" and off is not None:
        return off
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is no number: {text!r}") from None

"""Validates attributes, matchers and rules as Elastic Load Balancing does. moto accepts nearly everything."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moto.elbv2.exceptions import ELBClientError

from mclass_tf.local.balancer import rules

_WEEK = 7 * 24 * 3600
_MATCHER_CODES = range(200, 499 + 1)
_CONDITION_VALUES = 5  # of a rule
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}")  # a token of RFC 7230
_REDIRECT_CODES = ("HTTP_301", "HTTP_302")


@dataclass(frozen=True, kw_only=True)
class _Number:
    """An integer within bounds, or one of the `others`."""

    first: int
    last: int
    others: tuple[str, ...] = ()

    def accepts(self, value: str) -> bool:
        is_number = re.fullmatch(r"\d{1,9}", value, re.ASCII) is not None
        return value in self.others or (is_number and self.first <= int(value) <= self.last)

    def __str__(self) -> str:
        others = "".join(f" or '{other}'" for other in self.others)
        return f"must be between '{self.first}-{self.last}' inclusive{others}"


@dataclass(frozen=True)
class _Choice:
    choices: tuple[str, ...]

    def accepts(self, value: str) -> bool:
        return value in self.choices

    def __str__(self) -> str:
        return f"must be one of [{', '.join(self.choices)}]"


_SWITCH = _Choice(("true", "false"))
_COUNT = _Number(first=1, last=1000)  # the maximum number of targets in a target group
_PERCENTAGE = _Number(first=1, last=100, others=("off",))

# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html
_LOAD_BALANCER_ATTRIBUTES: Mapping[str, _Number | _Choice] = {
    "access_logs.s3.enabled": _SWITCH,
    "client_keep_alive.seconds": _Number(first=60, last=_WEEK),
    "connection_logs.s3.enabled": _SWITCH,
    "deletion_protection.enabled": _SWITCH,
    "idle_timeout.timeout_seconds": _Number(first=1, last=4000),
    "routing.http.desync_mitigation_mode": _Choice(("monitor", "defensive", "strictest")),
    "routing.http.drop_invalid_header_fields.enabled": _SWITCH,
    "routing.http.preserve_host_header.enabled": _SWITCH,
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": _SWITCH,
    "routing.http.xff_client_port.enabled": _SWITCH,
    "routing.http.xff_header_processing.mode": _Choice(("append", "preserve", "remove")),
    "routing.http2.enabled": _SWITCH,
    "waf.fail_open.enabled": _SWITCH,
    "zonal_shift.config.enabled": _SWITCH,
}

# Attributes of HTTP and HTTPS target groups, the only ones modelled. None: any value, or checked by moto.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html
_TARGET_GROUP_ATTRIBUTES: Mapping[str, _Number | _Choice | None] = {
    "deregistration_delay.timeout_seconds": _Number(first=0, last=3600),
    "load_balancing.algorithm.anomaly_mitigation": _Choice(("on", "off")),
    "load_balancing.algorithm.type": _Choice(
        ("round_robin", "least_outstanding_requests", "weighted_random")
    ),
    "load_balancing.cross_zone.enabled": _Choice((*_SWITCH.choices, "use_load_balancer_configuration")),
    "slow_start.duration_seconds": _Number(first=30, last=900, others=("0",)),
    "stickiness.app_cookie.cookie_name": None,
    "stickiness.app_cookie.duration_seconds": _Number(first=1, last=_WEEK),
    "stickiness.enabled": _SWITCH,
    "stickiness.lb_cookie.duration_seconds": _Number(first=1, last=_WEEK),
    "stickiness.type": None,
    "target_group_health.dns_failover.minimum_healthy_targets.count": _Number(
        first=1, last=_COUNT.last, others=("off",)
    ),
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": _PERCENTAGE,
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": _COUNT,
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": _PERCENTAGE,
}


def check_load_balancer_attributes(attributes: Mapping[str, Any]) -> None:
    """Raise ValidationError for an invalid value. moto rejects unknown keys."""
    for key, value in attributes.items():
        _check_value(key, value, _LOAD_BALANCER_ATTRIBUTES.get(key))


def check_target_group_attributes(attributes: Mapping[str, Any]) -> None:
    """Raise ValidationError for an unknown key or an invalid value."""
    for key, value in attributes.items():
        if key not in _TARGET_GROUP_ATTRIBUTES:
            raise error("ValidationError", f"Target group attribute key '{key}' is not recognized")
        _check_value(key, value, _TARGET_GROUP_ATTRIBUTES[key])


def _check_value(key: str, value: Any, accepted: _Number | _Choice | None) -> None:
    if accepted is not None and not accepted.accepts(str(value)):
        raise error("ValidationError", f"'{key}' value '{value}' {accepted}")


def check_matcher(codes: str) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Matcher.html"""
    for part in codes.split(","):
        bounds = re.fullmatch(r"(\d{3})(?:-(\d{3}))?", part.strip(), re.ASCII)
        first, last = (int(bounds[1]), int(bounds[2] or bounds[1])) if bounds else (0, 0)
        if first not in _MATCHER_CODES or last not in _MATCHER_CODES or first > last:
            raise error(
                "ValidationError",
                f"Health check matcher HTTP code '{part}' must be within '{_MATCHER_CODES[0]}-{_MATCHER_CODES[-1]}' inclusive",
            )


def check_redirect(action: Mapping[str, Any], *, position: int) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RedirectActionConfig.html"""
    status = (action.get("RedirectConfig") or {}).get("StatusCode")
    if action.get("Type") == "redirect" and status not in _REDIRECT_CODES:
        raise error(
            "ValidationError",
            f"1 validation error detected: Value '{status}' at 'actions.{position}.member.redirectConfig.statusCode' "
            f"failed to satisfy constraint: Member must satisfy enum value set: [{', '.join(_REDIRECT_CODES)}]",
        )


def check_conditions(conditions: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValidationError for conditions that AWS refuses or the load balancer cannot evaluate. moto has checked their shape.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_HttpHeaderConditionConfig.html
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    """
    if sum(map(_count, conditions)) > _CONDITION_VALUES:
        raise error("ValidationError", f"A rule can only have '{_CONDITION_VALUES}' condition values")
    for condition in conditions:
        if condition.get("Field") == "http-header":
            config = condition["HttpHeaderConfig"]
            name = str(config.get("HttpHeaderName") or "")
            if not _HEADER_NAME.fullmatch(name) or name.lower() == "host":
                raise error("ValidationError", f"The 'http-header' name '{name}' is not valid")
            if not all(config.get("Values") or [""]):
                raise error("ValidationError", "A condition value must be specified")
    try:
        rules.compile_conditions(conditions)
    except ValueError as invalid:
        raise error("ValidationError", str(invalid)) from invalid


def _count(condition: Mapping[str, Any]) -> int:
    configs = (config for name, config in condition.items() if name.endswith("Config"))
    values = next((config.get("Values") for config in configs if config), None) or condition.get("Values")
    return len(values or ())


def error(code: str, message: str) -> Exception:
    """Return an error of Elastic Load Balancing."""
    client_error: Exception = ELBClientError(code, message)
    return client_error

"""Rules for services: a deployment keeps tasks serving, gives new ones time to start, and goes back when they fail."""

from __future__ import annotations

from typing import Any

from _reading import first, number, switched_on
from checkov.common.models.enums import CheckCategories, CheckResult
from checkov.terraform.checks.resource.base_resource_check import BaseResourceCheck

_LEAST_HEALTHY = 50
_ALL = 100


class _ServiceCheck(BaseResourceCheck):
    def __init__(self, *, id: str, name: str) -> None:  # noqa: A002  (Checkov's own name)
        super().__init__(
            name=name,
            id=id,
            categories=(CheckCategories.GENERAL_SECURITY,),
            supported_resources=("aws_ecs_service",),
        )


class CircuitBreaker(_ServiceCheck):
    """Without it ECS starts a broken revision again and again, and the service never goes back by itself."""

    fix = "add deployment_circuit_breaker { enable = true, rollback = true } to the service"

    def __init__(self) -> None:
        super().__init__(
            id="CKV_MCLASS_5",
            name="Ensure a failing deployment is stopped and rolled back by the circuit breaker",
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        self.evaluated_keys = [
            "deployment_circuit_breaker/[0]/enable",
            "deployment_circuit_breaker/[0]/rollback",
        ]
        breaker = first(conf, "deployment_circuit_breaker")
        if not isinstance(breaker, dict):
            return CheckResult.FAILED
        judged = [switched_on(first(breaker, key)) for key in ("enable", "rollback")]
        return next((result for result in judged if result is not CheckResult.PASSED), CheckResult.PASSED)


class TasksKeepServing(_ServiceCheck):
    """At 0 % healthy ECS may stop every task before a new one serves; at a maximum of 100 % it must stop one first."""

    fix = "set deployment_minimum_healthy_percent to 50 or more and deployment_maximum_percent above 100 (100 and 200 are sound)"

    def __init__(self) -> None:
        super().__init__(
            id="CKV_MCLASS_6", name="Ensure a deployment keeps tasks serving and may start new ones first"
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        self.evaluated_keys = ["deployment_minimum_healthy_percent", "deployment_maximum_percent"]
        # What is not stated is ECS's default, 100 and 200.
        least = first(conf, "deployment_minimum_healthy_percent")
        most = first(conf, "deployment_maximum_percent")
        low = number(100 if least is None else least)
        high = number(200 if most is None else most)
        if low is None or high is None:
            return CheckResult.UNKNOWN
        return CheckResult.PASSED if low >= _LEAST_HEALTHY and high > _ALL else CheckResult.FAILED


class GracePeriod(_ServiceCheck):
    """With no grace period the load balancer's first failed checks kill a task that is still starting."""

    fix = "set health_check_grace_period_seconds to the start time plus the health check's interval times its threshold"

    def __init__(self) -> None:
        super().__init__(
            id="CKV_MCLASS_7", name="Ensure tasks behind a load balancer are given time to start"
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        self.evaluated_keys = ["health_check_grace_period_seconds"]
        if first(conf, "load_balancer") is None:
            return CheckResult.PASSED
        stated = first(conf, "health_check_grace_period_seconds")
        seconds = number(0 if stated is None else stated)
        if seconds is None:
            return CheckResult.UNKNOWN
        return CheckResult.PASSED if seconds > 0 else CheckResult.FAILED


checks = (CircuitBreaker(), TasksKeepServing(), GracePeriod())

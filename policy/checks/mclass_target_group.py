"""Rules for target groups: a task that leaves has time for its last requests, and not all the time in the world."""

from __future__ import annotations

from typing import Any

from _reading import first, number
from checkov.common.models.enums import CheckCategories, CheckResult
from checkov.terraform.checks.resource.base_resource_check import BaseResourceCheck

_SHORTEST = 10
_LONGEST = 120


class DeregistrationDelay(BaseResourceCheck):
    """At 0 s requests in flight are cut. The default of 300 s says that nobody chose, and every batch waits for it."""

    fix = "set deregistration_delay to the longest request that is served, in seconds, from 10 to 120"

    def __init__(self) -> None:
        super().__init__(
            id="CKV_MCLASS_8",
            name="Ensure targets are drained for as long as the longest request takes",
            categories=(CheckCategories.NETWORKING,),
            supported_resources=("aws_lb_target_group",),
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        self.evaluated_keys = ["deregistration_delay"]
        if first(conf, "target_type") == "lambda":
            return CheckResult.PASSED
        stated = first(conf, "deregistration_delay")
        seconds = number(300 if stated is None else stated)
        if seconds is None:
            return CheckResult.UNKNOWN
        return CheckResult.PASSED if _SHORTEST <= seconds <= _LONGEST else CheckResult.FAILED


check = DeregistrationDelay()

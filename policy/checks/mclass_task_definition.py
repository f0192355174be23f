"""Rules for task definitions: what runs is named for good, stops in time, runs as nobody and can be gone back to."""

from __future__ import annotations

import re
from typing import Any

from _reading import containers, essential, first, number, switched_on, unresolved
from checkov.common.models.enums import CheckCategories, CheckResult
from checkov.terraform.checks.resource.base_resource_check import BaseResourceCheck

_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_LONGEST_ON_FARGATE = 120
_ROOT = {"", "0", "root"}


class _TaskDefinitionCheck(BaseResourceCheck):
    def __init__(self, *, id: str, name: str, category: CheckCategories) -> None:  # noqa: A002  (Checkov's own name)
        super().__init__(
            name=name, id=id, categories=(category,), supported_resources=("aws_ecs_task_definition",)
        )


class ImageByDigest(_TaskDefinitionCheck):
    """A tag can be moved: what was proven in one environment would not be what runs in the next."""

    fix = (
        "name every image by digest, repository@sha256:<64 hexadecimal digits>; `plan ENV --image` takes one"
    )

    def __init__(self) -> None:
        super().__init__(
            id="CKV_MCLASS_1",
            name="Ensure container images are named by digest",
            category=CheckCategories.SUPPLY_CHAIN,
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        self.evaluated_keys = ["container_definitions"]
        found = containers(conf)
        if found is None:
            return CheckResult.UNKNOWN
        images = [str(container.get("image", "")) for container in found]
        if any(unresolved(image) for image in images):
            return CheckResult.UNKNOWN
        return CheckResult.PASSED if all(map(_DIGEST.fullmatch, images)) else CheckResult.FAILED


class StopTimeout(_TaskDefinitionCheck):
    """Between SIGTERM and SIGKILL a task finishes its requests; ECS allows 30 s unless told, Fargate 120 s at most."""

    fix = (
        "set stopTimeout on every essential container: the lame duck plus the longest request, in seconds, "
        "from 1 to 120 (the most that Fargate allows)"
    )

    def __init__(self) -> None:
        super().__init__(
            id="CKV_MCLASS_2",
            name="Ensure essential containers state how long they may take to stop",
            category=CheckCategories.GENERAL_SECURITY,
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        self.evaluated_keys = ["container_definitions"]
        found = containers(conf)
        if found is None:
            return CheckResult.UNKNOWN
        values = [container.get("stopTimeout") for container in found if essential(container)]
        if any(unresolved(value) for value in values):
            return CheckResult.UNKNOWN
        stated = [number(value) for value in values]
        sound = all(seconds is not None and 1 <= seconds <= _LONGEST_ON_FARGATE for seconds in stated)
        return CheckResult.PASSED if stated and sound else CheckResult.FAILED


class NotRoot(_TaskDefinitionCheck):
    """What breaks out of a container is what ran in it."""

    fix = 'set user on every container to a user other than root, by number: user = "65532:65532"'

    def __init__(self) -> None:
        super().__init__(
            id="CKV_MCLASS_3",
            name="Ensure containers do not run as root",
            category=CheckCategories.IAM,
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        self.evaluated_keys = ["container_definitions"]
        found = containers(conf)
        if found is None:
            return CheckResult.UNKNOWN
        users = [str(container.get("user") or "").partition(":")[0] for container in found]
        if any(unresolved(container.get("user")) for container in found):
            return CheckResult.UNKNOWN
        return CheckResult.FAILED if any(user in _ROOT for user in users) else CheckResult.PASSED


class KeptForRollback(_TaskDefinitionCheck):
    """A changed task definition is replaced; the old revision, once deregistered, cannot be gone back to."""

    fix = "set skip_destroy = true, so that a service can be pointed back at the revision that this one replaces"

    def __init__(self) -> None:
        super().__init__(
            id="CKV_MCLASS_4",
            name="Ensure replaced task definitions stay registered",
            category=CheckCategories.BACKUP_AND_RECOVERY,
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        self.evaluated_keys = ["skip_destroy"]
        return switched_on(first(conf, "skip_destroy"))


checks = (ImageByDigest(), StopTimeout(), NotRoot(), KeptForRollback())

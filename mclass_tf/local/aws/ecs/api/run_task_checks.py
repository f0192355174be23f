"""Validates RunTask requests as ECS does. Messages have the wording of ECS where it is known.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mclass_tf.local.aws.ecs.api import checks, parameters, task_definition
from mclass_tf.local.aws.ecs.model.errors import invalid, platform_unknown

_MOST_TASKS = 10
_LONGEST_GROUP = 255
_LONGEST_OVERRIDES = 8192
_MOST_TAGS = 50
_LONGEST_STARTED_BY = 128
_CLIENT_TOKEN = re.compile(r"[!-~]{1,64}")
_PLATFORM_VERSIONS = ("LATEST", "1.4.0")
_PROPAGATE = ("NONE", "TASK_DEFINITION")


def count(request: Mapping[str, Any]) -> int:
    """Return the requested number of tasks."""
    return 1 if request.get("count") is None else int(request["count"])


def check_request(request: Mapping[str, Any]) -> None:
    """Raise InvalidParameterException for parameters that are invalid by themselves."""
    if count(request) not in range(1, _MOST_TASKS + 1):
        raise invalid(f"count must be from 1 to {_MOST_TASKS}, not {count(request)}.")
    if len(request.get("group") or "") > _LONGEST_GROUP:
        raise invalid(f"The task group must have at most {_LONGEST_GROUP} characters.")
    # Documented are letters, digits, hyphens, underscores and slashes, but ECS checks the length alone: `ecs run` of ecs-deploy
    # has always sent "ECS Deploy". https://github.com/fabfuel/ecs-deploy/blob/1.15.0/ecs_deploy/cli.py
    if len(request.get("startedBy") or "") > _LONGEST_STARTED_BY:
        raise invalid(f"startedBy must have at most {_LONGEST_STARTED_BY} characters.")
    if request.get("clientToken") and not _CLIENT_TOKEN.fullmatch(request["clientToken"]):
        raise invalid("clientToken must be at most 64 characters in the range of 33-126.")
    if (request.get("propagateTags") or "NONE") not in _PROPAGATE:
        raise invalid("propagateTags of a task that belongs to no service must be TASK_DEFINITION or NONE.")
    _check_tags(request)


def check_place(settings: Mapping[str, Any], *, cluster: Any, account_id: str, region: str) -> None:
    """Check capacity, platform version and network. Raise InvalidParameterException or PlatformUnknownException."""
    checks.check_capacity(settings, cluster=cluster)
    if settings["platformVersion"] not in _PLATFORM_VERSIONS:
        raise platform_unknown()
    checks.check_network(settings, account_id=account_id, region=region)


def check_execute_command(request: Mapping[str, Any], *, definition: Any) -> None:
    """Raise InvalidParameterException if ECS Exec is enabled without a task role, which it needs."""
    role = (request.get("overrides") or {}).get("taskRoleArn") or getattr(definition, "task_role_arn", None)
    if request.get("enableExecuteCommand") and not role:
        raise invalid(
            "The execute command failed because a valid task role is not being used. Specify a valid task role in your "
            "task definition or as a task override and try again."
        )


def check_overrides(overrides: Mapping[str, Any], *, definition: Any, account_id: str) -> None:
    """Raise InvalidParameterException, or the error for the same mistake in a task definition."""
    if not overrides:
        return
    parameters.check_overrides(overrides)
    task_definition.check_text(overrides)
    for override in overrides.get("containerOverrides") or []:
        task_definition.check_environment(override)
    if len(json.dumps(overrides, separators=(",", ":"))) > _LONGEST_OVERRIDES:
        raise invalid(f"Container Overrides length must be at most {_LONGEST_OVERRIDES}")
    task_definition.check_roles(overrides, account_id=account_id)
    size = {name: str(overrides.get(name) or getattr(definition, name)) for name in ("cpu", "memory")}
    task_definition.check_size(**size)
    task_definition.check_storage(overrides)
    overridden = {entry.get("name"): entry for entry in overrides.get("containerOverrides") or [] if entry}
    defined = {entry["name"]: entry for entry in definition.container_definitions}
    for name in overridden:
        if name not in defined:
            raise invalid(f"Override for container named {name} is not a container in the TaskDefinition.")
    for name, container in defined.items():
        _check_container({**container, **overridden.get(name, {})}, size=size)


def _check_container(container: Mapping[str, Any], *, size: Mapping[str, str]) -> None:
    for setting, most in size.items():
        if (container.get(setting) or 0) > int(most):
            raise invalid(
                f"The '{setting}' setting for container '{container['name']}' is greater than for the task."
            )


def _check_tags(request: Mapping[str, Any]) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html#tag-restrictions"""
    keys = [str(tag.get("key")) for tag in request.get("tags") or []]
    if len(keys) > _MOST_TAGS:
        raise invalid(f"Tags can have at most {_MOST_TAGS} items.")
    if len(set(keys)) < len(keys):
        raise invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    if any(key.lower().startswith("aws:") for key in keys):
        raise invalid("aws: prefixed tag key names are not allowed for external use.")

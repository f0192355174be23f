"""Registers and deregisters a task as a target."""

from __future__ import annotations

import logging
from typing import Any

from moto.elbv2 import elbv2_backends

from mclass_tf.local.aws.ecs.model.task import Task

_log = logging.getLogger("mclass_tf.local")

_DELAY = "deregistration_delay.timeout_seconds"


def register(task: Task) -> bool:
    """Register the task in its target groups. Return whether any registration succeeded. Call it under the lock."""
    return _call_for_each_group(task, "register_targets")


def deregister(task: Task) -> bool:
    """Deregister the task from its target groups; the result is as for `register`. Call it under the lock."""
    return _call_for_each_group(task, "deregister_targets")


def deregistration_delay(task: Task) -> float:
    """Return the longest delay of the task's target groups, in AWS's seconds. Call it under the lock."""
    groups = (_target_groups(task).get(entry.target_group_arn) for entry in task.launch.registrations)
    return max((float(group.attributes.get(_DELAY, 300)) for group in groups if group is not None), default=0)


def _call_for_each_group(task: Task, method: str) -> bool:
    has_succeeded = False
    for registration in task.launch.registrations:
        if registration.target_group_arn not in _target_groups(task) or task.interface is None:
            _log.warning("task %s: target group %s is gone", task.id, registration.target_group_arn)
            continue
        target = {"Id": task.interface.private_ip, "Port": registration.container_port}
        try:
            getattr(_backend(task), method)(registration.target_group_arn, [target])
        except Exception:  # noqa: BLE001  somebody else deregistered the target; the task lives on
            _log.warning("task %s: %s has failed", task.id, method, exc_info=True)
            continue
        has_succeeded = True
    return has_succeeded


def _backend(task: Task) -> Any:
    return elbv2_backends[task.launch.account_id][task.launch.region]


def _target_groups(task: Task) -> Any:
    return _backend(task).target_groups

"""The scheduler's interface to everything outside ECS: clock, task runner, target health, alarms and listener rules."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from moto.cloudwatch.models import cloudwatch_backends
from moto.elbv2 import elbv2_backends

from mclass_tf.local.aws.ecs.model.runner import TaskRunner, runner_holder
from mclass_tf.local.aws.ecs.scheduler import traffic
from mclass_tf.local.aws.elbv2.targets import TargetHealth
from mclass_tf.local.clock import Clock
from mclass_tf.local.live import live


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A CloudWatch alarm. `seconds` is its evaluation range (period times evaluation periods), in AWS's seconds."""

    state: str
    seconds: float


class SchedulerWorld(Protocol):
    @property
    def clock(self) -> Clock: ...

    @property
    def runner(self) -> TaskRunner | None: ...

    def now(self) -> float:
        """Return the time in seconds since the epoch."""

    def targets(self, account_id: str, region: str, target_group_arn: str) -> Sequence[TargetHealth]:
        """Return the targets of a target group; empty if the group does not exist."""

    def alarms(self, account_id: str, region: str, names: Sequence[str]) -> Mapping[str, Alarm]:
        """Return the alarms by name, without those that do not exist."""

    def weights(self, account_id: str, region: str, rule_arn: str) -> Mapping[str, int]:
        """Return the weights of the target groups to which a listener rule forwards."""

    def shift(
        self, account_id: str, region: str, rule_arn: str, weights: Mapping[str, int], *, role_arn: str | None
    ) -> None:
        """Set the weights of a listener rule. Raise TrafficError if that fails."""


class LocalWorld:
    """The implementation on the state of this local AWS."""

    @property
    def clock(self) -> Clock:
        return live.clock

    @property
    def runner(self) -> TaskRunner | None:
        return runner_holder.runner

    @staticmethod
    def now() -> float:
        return time.time()

    @staticmethod
    def targets(account_id: str, region: str, target_group_arn: str) -> Sequence[TargetHealth]:
        backend: Any = elbv2_backends[account_id][region]
        if target_group_arn not in backend.target_groups:
            return ()
        targets: Sequence[TargetHealth] = backend.target_health(target_group_arn)
        return targets

    @staticmethod
    def alarms(account_id: str, region: str, names: Sequence[str]) -> Mapping[str, Alarm]:
        known = cloudwatch_backends[account_id][region].alarms
        return {
            name: Alarm(
                state=known[name].state_value,
                seconds=float(known[name].period or 0) * int(known[name].evaluation_periods or 1),
            )
            for name in names
            if name in known
        }

    @staticmethod
    def weights(account_id: str, region: str, rule_arn: str) -> Mapping[str, int]:
        return traffic.weights(account_id, region, rule_arn)

    @staticmethod
    def shift(
        account_id: str, region: str, rule_arn: str, weights: Mapping[str, int], *, role_arn: str | None
    ) -> None:
        traffic.shift(account_id, region, rule_arn, weights, role_arn=role_arn)


LOCAL_WORLD = LocalWorld()

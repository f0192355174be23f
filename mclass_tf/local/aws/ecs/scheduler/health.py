"""Whether a task is healthy, as the service scheduler sees it.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html (minimumHealthyPercent)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mclass_tf.local.aws.ecs.scheduler.view import Condition

# A task without any check counts as healthy so many of AWS's seconds after it has reached RUNNING.
UNCHECKED_SECONDS = 40.0

_COMING = ("PROVISIONING", "PENDING", "ACTIVATING")
_SERVING = ("RUNNING", "DEACTIVATING")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A task in one target group; `state` and `description` are DescribeTargetHealth's."""

    target_group_arn: str
    port: int
    state: str
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`container_health` is that of the essential containers' checks, None where there are none. Times are real ones."""

    last_status: str
    desired_status: str
    started_at: float | None
    container_health: str | None
    targets: Sequence[Target]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`until`: when the verdict changes by itself. `target` is the one that makes it UNHEALTHY, None for a container's check."""

    condition: Condition
    until: float | None = None
    target: Target | None = None


def judge(facts: Facts, *, now: float, grace: float, settling: float) -> Verdict | None:
    """Return what the task counts as, None where it does not count any more.

    `grace` is the health check grace period, `settling` the time of a task without checks, in real seconds.
    """
    if facts.desired_status == "STOPPED":
        return Verdict(condition=Condition.DRAINING) if facts.last_status in _SERVING else None
    if facts.last_status in _COMING:
        return Verdict(condition=Condition.PENDING)
    if facts.last_status != "RUNNING":
        return None
    started = facts.started_at if facts.started_at is not None else now
    unhealthy = _find_unhealthy(facts)
    if unhealthy is not None:
        graceful = now < started + grace
        return Verdict(condition=Condition.STARTING, until=started + grace) if graceful else unhealthy
    if facts.container_health is None and not facts.targets:
        settled = now >= started + settling
        return Verdict(
            condition=Condition.HEALTHY if settled else Condition.STARTING,
            until=None if settled else started + settling,
        )
    passed = facts.container_health in (None, "HEALTHY") and all(
        target.state == "healthy" for target in facts.targets
    )
    return Verdict(condition=Condition.HEALTHY if passed else Condition.STARTING)


def _find_unhealthy(facts: Facts) -> Verdict | None:
    if facts.container_health == "UNHEALTHY":
        return Verdict(condition=Condition.UNHEALTHY)
    failing = next((target for target in facts.targets if target.state == "unhealthy"), None)
    return None if failing is None else Verdict(condition=Condition.UNHEALTHY, target=failing)

"""Checks of the service as its clients see it, where it runs tasks."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin

from mclass_tf.verify.check import Comparison, NotApplicableError, holds, registry
from mclass_tf.verify.world import World

check = registry.group("reachability")

SECONDS = 10.0


@check(
    "every task that runs is a healthy target",
    hint="`doctor ENV` says why a target is unhealthy; the health check's path must answer on the container port",
)
def healthy_targets(world: World) -> Iterator[Comparison]:
    _running(world)
    states = [state for found in world.target_states.values() for state in found]
    healthy = states.count("healthy")
    enough = healthy >= world.service["runningCount"]
    expected = f"at least {world.service['runningCount']} healthy"
    yield holds("targets", enough, expected=expected, found=", ".join(states))


@check(
    "the load balancer answers on the url, from healthy tasks",
    hint="`status ENV` and `doctor ENV` show what runs; check the way from here to the load balancer too",
)
def answers(world: World) -> Iterator[Comparison]:
    _running(world)
    if world.load_balancer["Scheme"] == "internal":
        raise NotApplicableError("the load balancer is internal: it answers inside the VPC alone")
    group = next(iter(world.target_groups.values()))
    url = urljoin(world.outputs.url, str(group.get("HealthCheckPath", "/")))
    status = world.fetch(url, seconds=SECONDS)
    codes = str(group.get("Matcher", {}).get("HttpCode", "200"))
    yield holds(f"status of {url}", _is_in(status, codes), expected=codes, found=status)


def _running(world: World) -> None:
    if world.service["runningCount"] == 0:
        desired = world.service["desiredCount"]
        raise NotApplicableError(f"the service runs no task (it should run {desired})")


def _is_in(status: int, codes: str) -> bool:
    """Tell whether a status is in a target group's matcher: "200", "200,202" or "200-299"."""
    ranges = [part.partition("-") for part in codes.split(",")]
    return any(int(first) <= status <= int(last or first) for first, _, last in ranges)

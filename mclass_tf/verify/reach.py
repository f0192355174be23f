"""Checks of the service as its clients see it, if it runs tasks."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin

from mclass_tf.verify.check import Comparison, NotApplicableError, holds, registry
from mclass_tf.verify.world import World

check = registry.group("reachability")

SECONDS = 10.0
INTERNAL_SECONDS = 3.0  # within a network, answers come at once


@check(
    "the service runs its desired number of tasks",
    hint="`status ENV` shows what runs and what ECS says; `rollback ENV` returns to what ran before",
)
def tasks_run(world: World) -> Iterator[Comparison]:
    desired = _desired(world)
    running = int(world.ecs.service["runningCount"])
    # A deployment may run more.
    yield holds("running tasks", running >= desired, expected=f"at least {desired}", actual=running)


@check(
    "every task that runs is a healthy target",
    hint="the path of the health check must answer on the container port; the log of the tasks says what they did",
)
def healthy_targets(world: World) -> Iterator[Comparison]:
    _desired(world)
    states = [state for group in world.elbv2.target_states.values() for state in group]
    healthy, running = states.count("healthy"), int(world.ecs.service["runningCount"])
    enough = 0 < running <= healthy
    expected = f"at least {max(running, 1)} healthy"
    yield holds("targets", enough, expected=expected, actual=", ".join(states))


@check(
    "the load balancer answers on the url, from healthy tasks",
    hint="`status ENV` shows what runs, and where; check the way from here to the load balancer too",
)
def answers(world: World) -> Iterator[Comparison]:
    _desired(world)
    group = next(iter(world.elbv2.target_groups.values()))
    url = urljoin(world.outputs.url, str(group.get("HealthCheckPath", "/")))
    if world.elbv2.load_balancer["Scheme"] == "internal":
        status = _fetch_internally(world, url)
    else:
        status = world.fetch(url, seconds=SECONDS)
    codes = str(group.get("Matcher", {}).get("HttpCode", "200"))
    yield holds(f"status of {url}", _is_in(status, codes), expected=codes, actual=status)


def _fetch_internally(world: World, url: str) -> int:
    """Return the status of an internal load balancer; raise NotApplicableError if nothing answers this machine."""
    try:
        return world.fetch(url, seconds=INTERNAL_SECONDS)
    except OSError as error:
        if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
            raise  # something answers, such as a server with another certificate
        raise NotApplicableError(
            "the load balancer is internal and does not answer this machine: it answers inside its network alone"
        ) from None


def _desired(world: World) -> int:
    """Return the desired count. If it is 0, there is nothing to reach."""
    desired = int(world.ecs.service["desiredCount"])
    if desired == 0:
        raise NotApplicableError("the service is to run no task: it stands at 0")
    return desired


def _is_in(status: int, codes: str) -> bool:
    """Tell whether a status matches a target group's matcher: "200", "200,202" or "200-299"."""
    ranges = [part.partition("-") for part in codes.split(",")]
    return any(int(first) <= status <= int(last or first) for first, _, last in ranges)

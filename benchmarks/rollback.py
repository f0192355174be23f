"""Time until `rollback` returns users to the old version, and whether they notice, compared with direct calls of ECS."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from benchmarks import machine
from benchmarks.command import CommandFailedError, run
from benchmarks.figure import Figure, Result
from benchmarks.stage import PROJECT, Stage, local_aws
from tests.commands import CommandLine
from tests.flows.released import CLUSTER, SERVICE, Dev

SECONDS = 5.0
RATE = 200.0  # requests a second
_OLDER, _NEWER = "older", "newer"
_CLIENTS = 20
_LOOK = 0.05
_SPEED = "10"
_SETTINGS = """
[release]
strategy = "blue-green"
bake_minutes = 1
smoke = ["/version"]
"""


@dataclass
class Users:
    """Observations of clients at a constant rate: the last response of each version, in seconds since the epoch, and failures."""

    sent: int = 0
    failures: list[str] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Back:
    """A rollback in seconds: until ECS was called, from ECS's shift to the last response of the newer version, after ECS's end."""

    told: float
    lag: float
    after: float


def measure(rounds: int) -> Result:
    with local_aws("--speed", _SPEED) as made:
        dev = _dev(made)
        older, newer = dev.version(_OLDER), dev.version(_NEWER)
        by_hand = _by_hand(made, dev, to=dev.released(older))
        backs: list[Back] = []
        floors: list[float] = []
        with _asking(dev) as users:
            for _ in range(rounds):
                dev.released(newer)
                backs.append(_back(dev, users, lambda: _roll_back(dev)))
                dev.released(newer)
                floors.append(_back(dev, users, by_hand).told)
    loads = machine.load()
    return Result(
        benchmark="rollback",
        figures=(
            Figure(
                name="`rollback`, until ECS is told",
                value=median(each.told for each in backs),
                unit="s",
                limit=SECONDS,
                note=f"from a steady state, blue/green; at a load of {loads}",
            ),
            Figure(
                name="from ECS's shift to the last answer of the version taken back",
                value=max(each.lag for each in backs),
                unit="s",
                limit=SECONDS,
                note="the longest",
            ),
            Figure(
                name="from ECS's end to that of `rollback`",
                value=median(each.after for each in backs),
                unit="s",
            ),
            Figure(
                name="requests that failed meanwhile",
                value=len(users.failures),
                unit="",
                limit=0,
                note=f"of {users.sent:,}, {RATE:g} a second",
            ),
            Figure(name="floor: `aws ecs update-service`, until ECS is told", value=median(floors), unit="s"),
        ),
        runs={
            "told": [each.told for each in backs],
            "lag": [each.lag for each in backs],
            "after": [each.after for each in backs],
            "floor": floors,
        },
    )


def _dev(made: Stage) -> Dev:
    """Prepare a dev with blue/green releases, from a copy of this project."""
    project = made.folder / "project"
    for folder in ("terraform", "modules", "environments", "policy"):
        shutil.copytree(PROJECT / folder, project / folder, ignore=shutil.ignore_patterns(".terraform"))
    settings = project / "environments" / "dev" / "environment.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + _SETTINGS, encoding="utf-8")
    commands = CommandLine(project=project, home=made.folder / "home")
    commands.ok("plan", "dev", "--local")
    commands.ok("apply", "dev", "--local")
    return Dev(commands)


def _roll_back(dev: Dev) -> None:
    done = dev.rollback()
    if done.status != 0:
        raise CommandFailedError(f"rollback ended with {done.status}:\n{done.stderr}")


def _by_hand(made: Stage, dev: Dev, *, to: str) -> Callable[[], None]:
    """Return a function that makes ECS return to a known task definition, and waits for it."""
    aws, env = str(Path(sys.executable).parent / "aws"), made.shell("dev")
    update = (aws, "ecs", "update-service", "--cluster", CLUSTER, "--service", SERVICE)

    def go() -> None:
        run((*update, "--task-definition", to), folder=made.folder, env=env)
        dev.rest()

    return go


def _back(dev: Dev, users: Users, go: Callable[[], None]) -> Back:
    """Roll back the newer version under load; return the durations."""
    before = {each["serviceDeploymentArn"] for each in dev.deployments()}
    with _watching(dev) as shift:
        began = time.time()
        go()
        ended = time.time()
    (own,) = [each for each in dev.deployments() if each["serviceDeploymentArn"] not in before]
    created, finished = (own[at].timestamp() for at in ("createdAt", "finishedAt"))
    return Back(told=created - began, lag=max(users.last[_NEWER] - shift[0], 0.0), after=ended - finished)


@contextmanager
def _watching(dev: Dev) -> Iterator[list[float]]:
    """Record when ECS shifts production traffic, by polling the listener rule."""
    outputs = dev.commands.ok("output", "dev", "--local", "--json").document
    rules = {"RuleArns": [outputs["production_listener_rule_arn"]]}
    elbv2 = dev.client("elbv2")
    over, found = threading.Event(), list[float]()

    def weights() -> Any:
        (rule,) = elbv2.describe_rules(**rules)["Rules"]
        groups = rule["Actions"][0]["ForwardConfig"]["TargetGroups"]
        return {group["TargetGroupArn"]: group["Weight"] for group in groups}

    at_first = weights()

    def watch() -> None:
        while not found and not over.wait(_LOOK):
            if weights() != at_first:
                found.append(time.time())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


@contextmanager
def _asking(dev: Dev) -> Iterator[Users]:
    """Send requests to the load balancer at a constant rate, over kept-alive connections."""
    users, over, lock = Users(), threading.Event(), threading.Lock()
    address = urlsplit(dev.status()["address"])

    def ask(number: int) -> None:
        connection = HTTPConnection(str(address.hostname), address.port, timeout=30)
        due = time.monotonic() + number / RATE
        while not over.wait(max(due - time.monotonic(), 0)):
            due += _CLIENTS / RATE
            problem = version = ""
            try:
                connection.request("GET", "/version")
                answer = connection.getresponse()
                version = json.load(answer)["version"]
                problem = "" if answer.status == HTTPStatus.OK else f"status {answer.status}"
            except (OSError, HTTPException, ValueError, KeyError) as error:
                problem = f"{type(error).__name__}: {error}"
                connection.close()
            with lock:
                users.sent += 1
                if problem:
                    users.failures.append(problem)
                else:
                    users.last[version] = time.time()
        connection.close()

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(_CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield users
    finally:
        over.set()
        for client in clients:
            client.join()

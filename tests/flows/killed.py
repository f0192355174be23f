"""Commands that are killed at a step, and a client that requests the service continuously."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mclass_tf.service import ServiceDeployment
from tests.commands import CommandResult
from tests.flows.released import PATIENCE, Dev
from tests.time_limits import seconds_left

_PAUSE = 0.05


@dataclass
class Answers:
    """A client's results: the answers of each version, and the failures."""

    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@contextmanager
def asking(dev: Dev) -> Iterator[Answers]:
    """Request the version from the load balancer continuously; every request must succeed."""
    answers, over = Answers(), threading.Event()
    url = f"{dev.address}/version"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask() -> None:
        while not over.wait(_PAUSE):
            try:
                with opener.open(url, timeout=30) as answer:
                    answers.versions[json.load(answer)["version"]] += 1
            except (OSError, ValueError) as error:
                answers.failures.append(f"{time.time():.1f}: {error}")

    client = threading.Thread(target=ask, daemon=True)
    client.start()
    try:
        yield answers
    finally:
        over.set()
        client.join()


def until(condition: Callable[[], Any], what: str, *, within: float = PATIENCE) -> Any:
    """Wait until `condition` is true; return its result."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(_PAUSE)
    return found


def steps(dev: Dev, folder: str) -> list[str]:
    """Return the steps of an attempt."""
    return [str(dev.read(key)["what"]) for key in dev.objects() if key.startswith(f"{folder}/step-")]


def folders(dev: Dev) -> list[str]:
    """Return the folders of the attempts, oldest first."""
    return sorted({key.rpartition("/")[0] for key in dev.objects()})


def waits(dev: Dev) -> bool:
    """Return whether the service deployment under way waits for an answer."""
    latest = dev.deployments()[0]["serviceDeploymentArn"]
    found = dev.ecs("DescribeServiceDeployments", serviceDeploymentArns=[latest])
    return bool(ServiceDeployment.parse(found["serviceDeployments"][0]).pauses)


def killed(
    dev: Dev,
    digest: str,
    *,
    at: str,
    then: Callable[[], Any] | None = None,
    is_stopped: bool = True,
    arguments: Sequence[str] = (),
    on: Mapping[str, Callable[[], Any]] | None = None,
) -> str:
    """Start a release and kill it when the ledger contains the step `at`; return its output.

    `then`: it is killed once that is true. `is_stopped`: it does nothing between the step and then. `on`: what is done when the
    ledger has another step.
    """
    before, due = len(folders(dev)), dict(on or {})
    with subprocess.Popen(
        dev.commands.argv("release", "dev", "--local", "--yes", "--image", digest, *arguments),
        env=dev.commands.variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            until(lambda: len(folders(dev)) > before or running.poll() is not None, "the attempt begins")
            own = folders(dev)[-1]

            def is_there() -> bool:
                reached = steps(dev, own)
                for step in set(due) & set(reached):
                    due.pop(step)()
                return at in reached or running.poll() is not None

            until(is_there, f"the step {at}", within=seconds_left())
            assert running.poll() is None, running.stderr and running.stderr.read()
            if then is not None:
                if is_stopped:
                    os.kill(running.pid, signal.SIGSTOP)
                until(then, "what it is killed after")
        finally:
            running.kill()  # a stopped one too
        return running.communicate()[1]


@dataclass
class Running:
    """A release in its own process; `folder` is its folder in the ledger."""

    process: subprocess.Popen[str]
    folder: str

    def end(self) -> CommandResult:
        """Wait for the end; return the result."""
        stdout, stderr = self.process.communicate(timeout=seconds_left())
        return CommandResult(self.process.returncode, stdout, stderr)


@contextmanager
def releasing(dev: Dev, digest: str) -> Iterator[Running]:
    """Start a release; enter when the ledger contains it. Kill it at the end if it still runs."""
    before = len(folders(dev))
    with subprocess.Popen(
        dev.commands.argv("release", "dev", "--local", "--yes", "--json", "--image", digest),
        env=dev.commands.variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            until(lambda: len(folders(dev)) > before or running.poll() is not None, "the attempt begins")
            assert running.poll() is None, running.stderr and running.stderr.read()
            yield Running(process=running, folder=folders(dev)[-1])
        finally:
            running.kill()

"""Starts the containers of a task in dependency order, watches them, and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from mclass_tf.local.aws.ecs.model.task import Container
from mclass_tf.local.aws.ecs.tasks import container_health
from mclass_tf.local.clock import Clock
from mclass_tf.local.containers import driver

_STOP_TIMEOUT = 30  # seconds, on Fargate: API_ContainerDefinition.html
_START_TIMEOUT = 180
_OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"


class DependencyError(Exception):
    """A container dependency cannot be fulfilled. The message is the name of the container depended on."""


class ContainerRun:
    """Runs one container. `state` is what ECS describes; change it only under the lock."""

    def __init__(
        self,
        *,
        definition: Mapping[str, Any],
        state: Container,
        exclusive: Callable[[], AbstractContextManager[None]],
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.definition = definition
        self.state = state
        self.check = container_health.parse_health_check(definition)
        self.running: driver.RunningContainer | None = None
        self.started = asyncio.Event()
        self.healthy = asyncio.Event()
        self.ended = asyncio.Event()
        self._exclusive = exclusive
        self._changed = changed
        self._clock = clock
        self._watchers: list[asyncio.Task[None]] = []

    @property
    def is_essential(self) -> bool:
        return bool(self.definition.get("essential", True))

    @property
    def is_alive(self) -> bool:
        return self.started.is_set() and not self.ended.is_set()

    @property
    def dependencies(self) -> list[tuple[str, str]]:
        """The containers this one depends on, each with the condition to fulfil before this one starts."""
        return [
            (entry["containerName"], entry["condition"]) for entry in self.definition.get("dependsOn") or []
        ]

    async def start(self, runner: driver.Driver, container: driver.ContainerSpec) -> None:
        """Start the container or raise driver.ContainerStartError. If cancelled, finish the start first: no container may run untracked."""
        starting = asyncio.ensure_future(runner.start(container))
        try:
            running = await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(driver.ContainerStartError):
                self._has_started(await starting)
            raise
        self._has_started(running)

    def _has_started(self, running: driver.RunningContainer) -> None:
        self.running = running
        with self._exclusive():
            self.state.last_status = "RUNNING"
            self.state.started_at = time.time()
        self._watchers.append(asyncio.create_task(self._watch_end(running)))
        if self.check is not None:
            watching = container_health.watch(
                self.check, running=running, clock=self._clock, report=self._record_health
            )
            self._watchers.append(asyncio.create_task(watching))
        self.started.set()
        self._changed()

    async def _watch_end(self, running: driver.RunningContainer) -> None:
        exit_status = await running.wait()
        with self._exclusive():
            self.state.last_status = "STOPPED"
            self.state.exit_code = exit_status.code
            self.state.finished_at = time.time()
            if exit_status.is_out_of_memory:
                self.state.reason = _OUT_OF_MEMORY
        for watcher in self._watchers[1:]:
            watcher.cancel()
        self.ended.set()
        self._changed()

    def _record_health(self, result: container_health.CheckResult) -> None:
        with self._exclusive():
            self.state.health_exit_code = result.exit_code
            self.state.health_output = result.output
            if self.state.health_status == result.status:
                return
            self.state.health_status = result.status
            self.state.health_since = time.time()
        if result.status == container_health.HEALTHY:
            self.healthy.set()
        self._changed()

    async def end(self) -> None:
        """Send SIGTERM, then SIGKILL after stopTimeout. Return when the container has exited."""
        if not self.is_alive or self.running is None:
            return
        timeout = self.definition.get("stopTimeout")
        await self.running.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT if timeout is None else timeout):
                await self.ended.wait()
        except TimeoutError:
            await self.running.kill()
            await self.ended.wait()

    async def stop_watching(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)


async def wait_for_dependencies(run: ContainerRun, runs: Mapping[str, ContainerRun]) -> None:
    """Return when all dependencies of the container are fulfilled. Raise DependencyError if one cannot be.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html
    """
    for name, condition in run.dependencies:
        await _wait_for_condition(runs[name], condition)


async def _wait_for_condition(other: ContainerRun, condition: str) -> None:
    fulfilled = {
        "START": other.started,
        "COMPLETE": other.ended,
        "SUCCESS": other.ended,
        "HEALTHY": other.healthy,
    }[condition]
    waits = [asyncio.ensure_future(event.wait()) for event in {fulfilled, other.ended}]
    timeout = other.definition.get("startTimeout") or _START_TIMEOUT
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    failed = condition == "SUCCESS" and other.state.exit_code != 0
    if failed or not fulfilled.is_set():
        raise DependencyError(other.state.name)


async def end_all(runs: Iterable[ContainerRun]) -> None:
    """Stop the containers, each after those that depend on it.

    A failure to stop one does not keep the others running; it is raised after they have exited.
    """
    entries = list(runs)
    ends: dict[str, asyncio.Task[None]] = {}

    async def end(run: ContainerRun) -> None:
        name = run.state.name
        dependents = [other for other in entries if name in {needed for needed, _ in other.dependencies}]
        if dependents:
            await asyncio.wait([ends[dependent.state.name] for dependent in dependents])
        await run.end()

    ends.update((run.state.name, asyncio.create_task(end(run))) for run in entries)
    for result in await asyncio.gather(*ends.values(), return_exceptions=True):
        if result is not None:
            raise result

"""Runs one task from PROVISIONING to STOPPED.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any

from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.tasks import container_health, containers, interfaces, targets
from mclass_tf.local.aws.ecs.tasks.startup import FailedToStartError, Startup, TaskRuntime
from mclass_tf.local.containers import driver

_log = logging.getLogger("mclass_tf.local")

_DEREGISTERED_AFTER = 2.0  # AWS's seconds after the SIGTERM of a StopTask or of Spot
_FAILED = "TaskFailedToStart"
_EXITED = "EssentialContainerExited"


class TaskLifecycle:
    """Runs one task. `tokens` give access to the metadata, by container name. `others` returns the other tasks of its group."""

    def __init__(
        self,
        *,
        task: Task,
        tokens: Mapping[str, str],
        runtime: TaskRuntime,
        others: Callable[[], Iterable[Task]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.task = task
        self._tokens = tokens
        self._runtime = runtime
        self._others = others
        self._stop = asyncio.Event()
        self._drains = False
        self._loop = loop
        definitions = {entry["name"]: entry for entry in task.launch.definition.container_definitions}
        self.runs = {
            container.name: containers.ContainerRun(
                definition=definitions[container.name],
                state=container,
                exclusive=runtime.exclusive,
                changed=self._container_changed,
                clock=runtime.live.clock,
            )
            for container in task.containers
        }

    # ---- called under the lock, from any thread

    def request_stop(self, *, code: str, reason: str, drain: bool) -> None:
        """Ask the task to stop. The first request determines code and reason."""
        if self.task.desired_status == "STOPPED":
            return
        self.task.desired_status = "STOPPED"
        self.task.stop_code = code
        self.task.stopped_reason = reason
        self._drains = drain
        self._loop.call_soon_threadsafe(self._stop.set)
        self._runtime.live.changed("ecs")

    # ---- in the loop

    async def run(self) -> None:
        try:
            await self._run_until_stop(self._start())
            await self._stop.wait()
        except FailedToStartError as failure:
            self._record_failure(failure)
        except Exception as error:  # noqa: BLE001  a bug stops the task and becomes its stopped reason
            self._record_problem(error)
            self._record_failure(FailedToStartError(f"InternalError: {type(error).__name__}: {error}"))
        try:
            await self._finish()
        except Exception as error:  # noqa: BLE001  the task must still reach STOPPED
            self._record_problem(error)
        await self._deprovision()

    def usage(self) -> driver.Usage | None:
        """Return the total usage of the running containers; None if none runs."""
        usages = self.usage_by_container().values()
        if not usages:
            return None
        return driver.Usage(
            memory_bytes=sum(usage.memory_bytes for usage in usages),
            cpu_seconds=sum(usage.cpu_seconds for usage in usages),
        )

    def usage_by_container(self) -> dict[str, driver.Usage]:
        return {
            name: run.running.usage()
            for name, run in self.runs.items()
            if run.is_alive and run.running is not None
        }

    async def _run_until_stop(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine, but cancel it when the task is asked to stop."""
        working = asyncio.create_task(work)
        waiting = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            working.cancel()  # no effect if it has finished
            await asyncio.wait([working, waiting])
        error = None if working.cancelled() else working.exception()
        if error is not None and not self._stop.is_set():
            raise error

    # ---- start

    async def _start(self) -> None:
        startup = Startup(task=self.task, runs=self.runs, tokens=self._tokens, runtime=self._runtime)
        with self._runtime.exclusive():
            startup.provision(others=self._others())
        self._enter("PENDING")
        with self._runtime.exclusive():
            startup.prepare()
        await startup.start_containers(await startup.pull())
        self._enter("ACTIVATING")
        self._activate()

    def _activate(self) -> None:
        ports = {
            port: address
            for run in self.runs.values()
            if run.running is not None
            for port, address in run.running.addresses.items()
        }
        with self._runtime.exclusive():
            if self.task.interface is None or self.task.desired_status == "STOPPED":
                return  # a container exited immediately
            self.task.interface = replace(self.task.interface, ports=ports)
            self._runtime.live.interfaces.attach(self.task.interface)
            self.task.is_registered = targets.register(self.task)
            self.task.last_status = "RUNNING"
            self.task.started_at = time.time()
        self._runtime.live.changed("elbv2")
        self._runtime.live.changed("ecs")

    # ---- events

    def _container_changed(self) -> None:
        """Update the health of the task. Stop the task if an essential container has exited.

        A task whose containers have all started counts as having been RUNNING, however briefly.
        """
        with self._runtime.exclusive():
            self.task.health_status = container_health.task_health(
                (run.is_essential, run.check, run.state.health_status) for run in self.runs.values()
            )
            if self._has_exited:
                started = [container.started_at for container in self.task.containers]
                if self.task.started_at is None and None not in started:
                    self.task.started_at = time.time()
                self.request_stop(code=_EXITED, reason="Essential container in task exited", drain=False)
        self._runtime.live.changed("ecs")

    def _record_failure(self, failure: FailedToStartError) -> None:
        with self._runtime.exclusive():
            if failure.container is not None:
                self.runs[failure.container].state.reason = failure.reason
            self.request_stop(code=_FAILED, reason=failure.reason, drain=False)

    def _record_problem(self, error: Exception) -> None:
        _log.error("task %s has failed", self.task.id, exc_info=error)
        self._runtime.live.problems.append(f"task {self.task.id}: {type(error).__name__}: {error}")

    # ---- stop

    async def _finish(self) -> None:
        self._enter("DEACTIVATING")
        if self._has_exited or self._drains:
            self._deregister()
            if self._drains and self.task.is_draining:
                await self._drain()
            self._enter("STOPPING")
            await containers.end_all(self.runs.values())
        else:
            ending = asyncio.create_task(containers.end_all(self.runs.values()))
            try:
                if self.task.is_registered:
                    await self._runtime.live.clock.sleep(_DEREGISTERED_AFTER)
                    self._deregister()
            finally:
                self._enter("STOPPING")
                await ending  # even if deregistering fails: no container may keep running
        with self._runtime.exclusive():
            self.task.execution_stopped_at = time.time()

    @property
    def _has_exited(self) -> bool:
        return any(run.is_essential and run.ended.is_set() for run in self.runs.values())

    def _deregister(self) -> None:
        with self._runtime.exclusive():
            if not self.task.is_registered:
                return
            targets.deregister(self.task)
            self.task.is_registered = False
            self.task.is_draining = True
        self._runtime.live.changed("elbv2")
        self._runtime.live.changed("ecs")

    async def _drain(self) -> None:
        """Wait for the full deregistration delay, as ECS does, or until an essential container exits."""
        with self._runtime.exclusive():
            delay = targets.deregistration_delay(self.task)
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._runtime.live.clock.sleep(delay))]
        waits += [asyncio.create_task(run.ended.wait()) for run in self.runs.values() if run.is_essential]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _deprovision(self) -> None:
        self._enter("DEPROVISIONING")
        for run in self.runs.values():
            await run.stop_watching()
        self._runtime.logs.flush()  # the logs must be complete when the task is STOPPED
        with self._runtime.exclusive():
            for run in self.runs.values():
                run.state.last_status = "STOPPED"
            if self.task.interface is not None:
                self._runtime.live.interfaces.detach(self.task.interface)
                interfaces.delete(self.task)
            self.task.is_draining = False
            self.task.stopped_at = time.time()
            self.task.last_status = "STOPPED"
        self._runtime.live.changed("elbv2")
        self._runtime.live.changed("ecs")

    def _enter(self, status: str) -> None:
        with self._runtime.exclusive():
            self.task.last_status = status
            if status == "STOPPING":
                self.task.stopping_at = time.time()
        self._runtime.live.changed("ecs")

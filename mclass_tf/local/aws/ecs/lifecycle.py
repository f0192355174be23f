"""The life of one task, from PROVISIONING to STOPPED.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from mclass_tf.local.aws.ecs import (
    container_health,
    containers,
    images,
    interfaces,
    preconditions,
    secrets,
    specification,
    targets,
    task_logs,
)
from mclass_tf.local.aws.ecs.task import Task
from mclass_tf.local.live import Live
from mclass_tf.local.tasks import driver

_log = logging.getLogger("mclass_tf.local")

_DEREGISTERED_AFTER = (
    2.0  # AWS's seconds between the SIGTERM of a StopTask or of Spot, and the deregistration
)
_FAILED = "TaskFailedToStart"
_EXITED = "EssentialContainerExited"


class FailedToStartError(Exception):
    """Why a task cannot start; `container` is the one at fault."""

    def __init__(self, reason: str, *, container: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.container = container


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What lives need. `exclusive` is the lock of the calls; `url` is where this AWS answers."""

    exclusive: Callable[[], AbstractContextManager[None]]
    driver: driver.Driver
    blobs: images.Blobs
    logs: task_logs.TaskLogs
    live: Live
    url: str


class Life:
    """Runs one task. `tokens` open the metadata of its containers, by their names."""

    def __init__(
        self,
        *,
        task: Task,
        tokens: Mapping[str, str],
        surroundings: Surroundings,
        others: Callable[[], Iterable[Task]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.task = task
        self._tokens = tokens
        self._surroundings = surroundings
        self._others = others
        self._stop = asyncio.Event()
        self._drains = False
        self._loop = loop
        definitions = {entry["name"]: entry for entry in task.launch.definition.container_definitions}
        self.runs = {
            container.name: containers.Run(
                definition=definitions[container.name],
                state=container,
                exclusive=surroundings.exclusive,
                changed=self._container_changed,
                clock=surroundings.live.clock,
            )
            for container in task.containers
        }

    # ---- called under the lock, from any thread

    def request_stop(self, *, code: str, reason: str, drain: bool) -> None:
        """Have the task end. The first who asks says why."""
        if self.task.desired_status == "STOPPED":
            return
        self.task.desired_status = "STOPPED"
        self.task.stop_code = code
        self.task.stopped_reason = reason
        self._drains = drain
        self._loop.call_soon_threadsafe(self._stop.set)
        self._surroundings.live.changed("ecs")

    # ---- in the loop

    async def run(self) -> None:
        try:
            await self._until_stop(self._start())
            await self._stop.wait()
        except FailedToStartError as failure:
            self._note_failure(failure)
        except Exception as error:  # noqa: BLE001  a bug here ends the task with its words, not without
            self._note_problem(error)
            self._note_failure(FailedToStartError(f"InternalError: {type(error).__name__}: {error}"))
        try:
            await self._finish()
        except Exception as error:  # noqa: BLE001  the task must not stay for ever
            self._note_problem(error)
        await self._deprovision()

    def usage(self) -> driver.Usage | None:
        """What the containers that run use together; None where none does."""
        found = self.usage_by_container().values()
        if not found:
            return None
        return driver.Usage(
            memory_bytes=sum(usage.memory_bytes for usage in found),
            cpu_seconds=sum(usage.cpu_seconds for usage in found),
        )

    def usage_by_container(self) -> dict[str, driver.Usage]:
        return {
            name: run.running.usage()
            for name, run in self.runs.items()
            if run.is_alive and run.running is not None
        }

    async def _until_stop(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, or as much of it as is done when the task is to stop."""
        working = asyncio.create_task(work)
        waiting = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            if not working.done():
                working.cancel()
        results = await asyncio.gather(working, return_exceptions=True)
        if isinstance(results[0], Exception) and not self._stop.is_set():
            raise results[0]

    # ---- the way up

    async def _start(self) -> None:
        self._provision()
        self._enter("PENDING")
        self._check_preconditions()
        pulled = await self._pull()
        await self._start_containers(pulled)
        self._enter("ACTIVATING")
        self._activate()

    def _provision(self) -> None:
        with self._surroundings.exclusive():
            try:
                interface = interfaces.create(self.task, others=self._others())
            except interfaces.NoInterfaceError as error:
                raise FailedToStartError(str(error)) from error
            self.task.interface = interface
            self.task.availability_zone = interface.availability_zone
            self._surroundings.live.interfaces.attach(interface)

    def _check_preconditions(self) -> None:
        with self._surroundings.exclusive():
            self._require(preconditions.unmet(self.task))
            for place, options in task_logs.destinations(self.task):
                task_logs.create_stream(place, create_group=options.get("awslogs-create-group") == "true")

    @staticmethod
    def _require(reason: str | None, *, container: str | None = None) -> None:
        if reason is not None:
            raise FailedToStartError(reason, container=container)

    async def _pull(self) -> dict[str, str]:
        """Pull every image; return the manifests' digests by container."""
        with self._surroundings.exclusive():
            self.task.pull_started_at = time.time()
        pulled = dict(await asyncio.gather(*(self._pull_one(name) for name in self.runs)))
        with self._surroundings.exclusive():
            self.task.pull_stopped_at = time.time()
        return pulled

    async def _pull_one(self, name: str) -> tuple[str, str]:
        state = self.runs[name].state
        architecture = (self.task.launch.definition.runtime_platform or {}).get("cpuArchitecture") or "X86_64"
        try:
            with self._surroundings.exclusive():
                reference = images.parse(state.image)
                self._require(preconditions.unmet_by_pull(self.task, reference), container=name)
                image = images.resolve(reference, architecture=architecture)
                self._require(preconditions.unmet_by_layers(self.task, reference), container=name)
                images.check_storage(image, gib=specification.storage_gib(self.task.launch))
                images.store_manifest(image, blobs=self._surroundings.blobs)
                state.image_digest = image.digest
            await self._surroundings.driver.pull(image.manifest_digest)
        except (images.NoImageError, driver.PullError) as error:
            raise FailedToStartError(f"CannotPullContainerError: {error}", container=name) from error
        return name, image.manifest_digest

    async def _start_containers(self, pulled: Mapping[str, str]) -> None:
        starting = [
            asyncio.create_task(self._start_container(name, manifest_digest=digest))
            for name, digest in pulled.items()
        ]
        try:
            await asyncio.gather(*starting)
        finally:
            for one in starting:
                one.cancel()
            await asyncio.gather(*starting, return_exceptions=True)

    async def _start_container(self, name: str, *, manifest_digest: str) -> None:
        run = self.runs[name]
        try:
            await containers.wait_for_dependencies(run, self.runs)
            with self._surroundings.exclusive():
                container = specification.of_container(
                    self.task,
                    run.definition,
                    manifest_digest=manifest_digest,
                    output=self._output(run.definition),
                    url=self._surroundings.url,
                    token=self._tokens[name],
                )
                run.state.runtime_id = f"{self.task.id}-{int(time.time() * 1000) % 10**10:010d}"
            await run.start(self._surroundings.driver, container)
        except secrets.NoSecretError as error:
            raise FailedToStartError(
                f"ResourceInitializationError: unable to pull secrets or registry auth: {error}"
            ) from error
        except containers.DependencyError as error:
            raise FailedToStartError(
                f"TaskDependencyError: container {name} depends on container {error}, which is not as it asks",
                container=name,
            ) from error
        except driver.StartError as error:
            raise FailedToStartError(f"CannotStartContainerError: {error}", container=name) from error

    def _output(self, definition: Mapping[str, Any]) -> Callable[[str], None]:
        launch = self.task.launch
        place = task_logs.destination(
            definition, account_id=launch.account_id, region=launch.region, task_id=self.task.id
        )
        if place is None or not preconditions.may_put_events(self.task, place):
            return _drop
        return self._surroundings.logs.writer(place)

    def _activate(self) -> None:
        ports = {
            port: address
            for run in self.runs.values()
            if run.running is not None
            for port, address in run.running.addresses.items()
        }
        with self._surroundings.exclusive():
            if self.task.interface is None:
                raise AssertionError("a task without its interface")
            self.task.interface = replace(self.task.interface, ports=ports)
            self._surroundings.live.interfaces.attach(self.task.interface)
            self.task.is_registered = targets.register(self.task)
            self.task.last_status = "RUNNING"
            self.task.started_at = time.time()
        self._surroundings.live.changed("elbv2")
        self._surroundings.live.changed("ecs")

    # ---- what happens meanwhile

    def _container_changed(self) -> None:
        """Note the health of the whole; an essential container that has ended ends the task."""
        with self._surroundings.exclusive():
            self.task.health_status = container_health.of_task(
                (run.is_essential, run.check, run.state.health_status) for run in self.runs.values()
            )
            if any(run.is_essential and run.ended.is_set() for run in self.runs.values()):
                self.request_stop(code=_EXITED, reason="Essential container in task exited", drain=False)
        self._surroundings.live.changed("ecs")

    def _note_failure(self, failure: FailedToStartError) -> None:
        with self._surroundings.exclusive():
            if failure.container is not None:
                self.runs[failure.container].state.reason = failure.reason
            self.request_stop(code=_FAILED, reason=failure.reason, drain=False)

    def _note_problem(self, error: Exception) -> None:
        _log.error("task %s has failed", self.task.id, exc_info=error)
        self._surroundings.live.problems.append(f"task {self.task.id}: {type(error).__name__}: {error}")

    # ---- the way down

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
            if self.task.is_registered:
                await self._surroundings.live.clock.sleep(_DEREGISTERED_AFTER)
                self._deregister()
            self._enter("STOPPING")
            await ending
        with self._surroundings.exclusive():
            self.task.execution_stopped_at = time.time()

    @property
    def _has_exited(self) -> bool:
        return any(run.is_essential and run.ended.is_set() for run in self.runs.values())

    def _deregister(self) -> None:
        with self._surroundings.exclusive():
            if not self.task.is_registered:
                return
            targets.deregister(self.task)
            self.task.is_registered = False
            self.task.is_draining = True
        self._surroundings.live.changed("elbv2")
        self._surroundings.live.changed("ecs")

    async def _drain(self) -> None:
        """Wait the whole deregistration delay, as ECS does, unless there is nothing left that could serve."""
        with self._surroundings.exclusive():
            delay = targets.deregistration_delay(self.task)
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._surroundings.live.clock.sleep(delay))]
        waits += [asyncio.create_task(run.ended.wait()) for run in self.runs.values() if run.is_essential]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _deprovision(self) -> None:
        self._enter("DEPROVISIONING")
        for run in self.runs.values():
            await run.forget()
        with self._surroundings.exclusive():
            for run in self.runs.values():
                run.state.last_status = "STOPPED"
            if self.task.interface is not None:
                self._surroundings.live.interfaces.detach(self.task.interface)
                interfaces.delete(self.task)
            self.task.is_draining = False
            self.task.stopped_at = time.time()
            self.task.last_status = "STOPPED"
        self._surroundings.logs.flush()
        self._surroundings.live.changed("elbv2")
        self._surroundings.live.changed("ecs")

    def _enter(self, status: str) -> None:
        with self._surroundings.exclusive():
            self.task.last_status = status
            if status == "STOPPING":
                self.task.stopping_at = time.time()
        self._surroundings.live.changed("ecs")


def _drop(_line: str) -> None:
    """Without a log driver, or the permission to log, nobody reads it."""

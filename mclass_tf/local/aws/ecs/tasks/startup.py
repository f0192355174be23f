"""Starts the containers of a task: interface, preconditions, image pulls, dependencies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from mclass_tf.local.aws.ecs import preconditions
from mclass_tf.local.aws.ecs.model import images, secrets, task_logs
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.tasks import containers, foreign, interfaces, specification
from mclass_tf.local.containers import driver
from mclass_tf.local.live import Live

_T = TypeVar("_T")


class FailedToStartError(Exception):
    """A task cannot start. `container` is the name of the container at fault, if any."""

    def __init__(self, reason: str, *, container: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.container = container


@dataclass(frozen=True, kw_only=True)
class TaskRuntime:
    """What every task uses. `exclusive` is the lock of the API calls; `url` is the endpoint of the local AWS."""

    exclusive: Callable[[], AbstractContextManager[None]]
    driver: driver.Driver
    blobs: images.Blobs
    logs: task_logs.TaskLogs
    live: Live
    url: str


@dataclass(frozen=True, kw_only=True)
class Startup:
    """The steps to start one task. Each raises FailedToStartError. `tokens` give access to the metadata, by container name."""

    task: Task
    runs: Mapping[str, containers.ContainerRun]
    tokens: Mapping[str, str]
    runtime: TaskRuntime

    # ---- under the lock

    def provision(self, *, others: Iterable[Task]) -> None:
        """Attach an interface, in the zone with the fewest of the `others`."""
        try:
            interface = interfaces.create(self.task, others=others)
        except interfaces.NoInterfaceError as error:
            raise FailedToStartError(str(error)) from error
        self.task.interface = interface
        self.task.availability_zone = interface.availability_zone
        self.runtime.live.interfaces.attach(interface)

    def prepare(self) -> None:
        """Check the preconditions and create the log streams."""
        _require(preconditions.startup_error(self.task))
        for destination, options in task_logs.log_destinations(self.task):
            task_logs.create_stream(destination, create_group=options.get("awslogs-create-group") == "true")

    # ---- in the loop

    async def pull(self) -> dict[str, images.ResolvedImage]:
        """Pull every image. Return the images by container name."""
        with self.runtime.exclusive():
            self.task.pull_started_at = time.time()
        pulled = dict(await _gather(self._pull_one(name) for name in self.runs))
        with self.runtime.exclusive():
            self.task.pull_stopped_at = time.time()
        return pulled

    async def _pull_one(self, name: str) -> tuple[str, images.ResolvedImage]:
        try:
            with self.runtime.exclusive():
                image = self._resolve_image(name)
            await self.runtime.driver.pull(image.manifest_digest)
        except (images.UnresolvedImageError, driver.PullError) as error:
            raise FailedToStartError(f"CannotPullContainerError: {error}", container=name) from error
        return name, image

    def _resolve_image(self, name: str) -> images.ResolvedImage:
        state, launch = self.runs[name].state, self.task.launch
        architecture = images.architecture_of(launch.definition.runtime_platform)
        reference = images.parse(state.image)
        _require(preconditions.pull_error(self.task, reference), container=name)
        image = images.resolve(reference, architecture=architecture, blobs=self.runtime.blobs)
        _require(preconditions.layers_error(self.task, reference), container=name)
        images.check_storage(image, gib=specification.storage_gib(launch))
        images.store_manifest(image, blobs=self.runtime.blobs)
        state.image_digest = image.digest
        return image

    async def start_containers(self, pulled: Mapping[str, images.ResolvedImage]) -> None:
        """Start every container once its dependencies are fulfilled. If one fails, start no more."""
        await _gather(self._start_container(name, image) for name, image in pulled.items())

    async def _start_container(self, name: str, image: images.ResolvedImage) -> None:
        run = self.runs[name]
        runner = foreign.runner_of(image, self.runtime.driver)
        try:
            await containers.wait_for_dependencies(run, self.runs)
            with self.runtime.exclusive():
                container = self._specification(run, manifest_digest=image.manifest_digest)
            await run.start(runner, container)
        except secrets.NoSecretError as error:
            raise FailedToStartError(
                f"ResourceInitializationError: unable to pull secrets or registry auth: {error}"
            ) from error
        except containers.DependencyError as error:
            raise FailedToStartError(
                f"TaskDependencyError: container {name} depends on container {error}, which is not as it asks",
                container=name,
            ) from error
        except driver.ContainerStartError as error:
            raise FailedToStartError(f"CannotStartContainerError: {error}", container=name) from error

    def _specification(self, run: containers.ContainerRun, *, manifest_digest: str) -> driver.ContainerSpec:
        run.state.runtime_id = f"{self.task.id}-{int(time.time() * 1000) % 10**10:010d}"
        return specification.driver_container(
            self.task,
            run.definition,
            manifest_digest=manifest_digest,
            output=self._output(run.definition),
            url=self.runtime.url,
            token=self.tokens[run.state.name],
        )

    def _output(self, definition: Mapping[str, Any]) -> Callable[[str], None]:
        launch = self.task.launch
        destination = task_logs.log_destination(
            definition, account_id=launch.account_id, region=launch.region, task_id=self.task.id
        )
        if destination is None or not preconditions.may_put_events(self.task, destination):
            return _discard
        return self.runtime.logs.writer(destination)


async def _gather(coroutines: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Run the coroutines concurrently. After a failure or cancellation, cancel the rest and wait for them."""
    running = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _require(reason: str | None, *, container: str | None = None) -> None:
    if reason is not None:
        raise FailedToStartError(reason, container=container)


def _discard(_line: str) -> None:
    """Discard output that has no log driver, or no permission to log."""

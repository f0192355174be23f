"""What it takes until the containers of a task run: interface, preconditions, images, dependencies."""

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
from mclass_tf.local.aws.ecs.tasks import containers, interfaces, specification
from mclass_tf.local.containers import driver
from mclass_tf.local.live import Live

_T = TypeVar("_T")


class FailedToStartError(Exception):
    """Why a task cannot start; `container` is the one at fault."""

    def __init__(self, reason: str, *, container: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.container = container


@dataclass(frozen=True, kw_only=True)
class TaskSurroundings:
    """What the lives of tasks need. `exclusive` is the lock of the calls; `url` is where this AWS answers."""

    exclusive: Callable[[], AbstractContextManager[None]]
    driver: driver.Driver
    blobs: images.Blobs
    logs: task_logs.TaskLogs
    live: Live
    url: str


@dataclass(frozen=True, kw_only=True)
class Startup:
    """The steps to start one task; each raises FailedToStartError. `tokens` open the metadata, by container."""

    task: Task
    runs: Mapping[str, containers.ContainerRun]
    tokens: Mapping[str, str]
    surroundings: TaskSurroundings

    # ---- under the lock

    def provision(self, *, others: Iterable[Task]) -> None:
        """Attach the interface, away from the `others` of the same service."""
        try:
            interface = interfaces.create(self.task, others=others)
        except interfaces.NoInterfaceError as error:
            raise FailedToStartError(str(error)) from error
        self.task.interface = interface
        self.task.availability_zone = interface.availability_zone
        self.surroundings.live.interfaces.attach(interface)

    def prepare(self) -> None:
        """Look at the preconditions, and make the log streams."""
        _require(preconditions.unmet(self.task))
        for place, options in task_logs.destinations(self.task):
            task_logs.create_stream(place, create_group=options.get("awslogs-create-group") == "true")

    # ---- in the loop

    async def pull(self) -> dict[str, str]:
        """Pull every image; return the manifests' digests by container."""
        with self.surroundings.exclusive():
            self.task.pull_started_at = time.time()
        pulled = dict(await _all(self._pull_one(name) for name in self.runs))
        with self.surroundings.exclusive():
            self.task.pull_stopped_at = time.time()
        return pulled

    async def _pull_one(self, name: str) -> tuple[str, str]:
        try:
            with self.surroundings.exclusive():
                image = self._resolve(name)
            await self.surroundings.driver.pull(image.manifest_digest)
        except (images.UnresolvedImageError, driver.PullError) as error:
            raise FailedToStartError(f"CannotPullContainerError: {error}", container=name) from error
        return name, image.manifest_digest

    def _resolve(self, name: str) -> images.ResolvedImage:
        state, launch = self.runs[name].state, self.task.launch
        architecture = (launch.definition.runtime_platform or {}).get("cpuArchitecture") or "X86_64"
        reference = images.parse(state.image)
        _require(preconditions.unmet_by_pull(self.task, reference), container=name)
        image = images.resolve(reference, architecture=architecture)
        _require(preconditions.unmet_by_layers(self.task, reference), container=name)
        images.check_storage(image, gib=specification.storage_gib(launch))
        images.store_manifest(image, blobs=self.surroundings.blobs)
        state.image_digest = image.digest
        return image

    async def start_containers(self, pulled: Mapping[str, str]) -> None:
        """Start every container when its dependencies let it; where one cannot be, start no more."""
        await _all(self._start_container(name, manifest_digest=digest) for name, digest in pulled.items())

    async def _start_container(self, name: str, *, manifest_digest: str) -> None:
        run = self.runs[name]
        try:
            await containers.wait_for_dependencies(run, self.runs)
            with self.surroundings.exclusive():
                container = self._specify(run, manifest_digest=manifest_digest)
            await run.start(self.surroundings.driver, container)
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

    def _specify(self, run: containers.ContainerRun, *, manifest_digest: str) -> driver.ContainerSpec:
        run.state.runtime_id = f"{self.task.id}-{int(time.time() * 1000) % 10**10:010d}"
        return specification.of_container(
            self.task,
            run.definition,
            manifest_digest=manifest_digest,
            output=self._output(run.definition),
            url=self.surroundings.url,
            token=self.tokens[run.state.name],
        )

    def _output(self, definition: Mapping[str, Any]) -> Callable[[str], None]:
        launch = self.task.launch
        place = task_logs.destination(
            definition, account_id=launch.account_id, region=launch.region, task_id=self.task.id
        )
        if place is None or not preconditions.may_put_events(self.task, place):
            return _drop
        return self.surroundings.logs.writer(place)


async def _all(works: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Do them at once; when one fails or this is cancelled, return only after the others have ended too."""
    working = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*working)
    finally:
        for one in working:
            one.cancel()
        await asyncio.gather(*working, return_exceptions=True)


def _require(reason: str | None, *, container: str | None = None) -> None:
    if reason is not None:
        raise FailedToStartError(reason, container=container)


def _drop(_line: str) -> None:
    """Without a log driver, or the permission to log, nobody reads it."""

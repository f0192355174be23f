"""Chooses the driver for a container: by its image, or as the user configured."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path

from mclass_tf.local.containers.child_processes import ChildProcesses, ExecError
from mclass_tf.local.containers.driver import (
    ContainerSpec,
    ContainerStartError,
    Driver,
    Images,
    RunningContainer,
    ServeTask,
)
from mclass_tf.local.containers.engine import ContainerEngine
from mclass_tf.local.containers.image import Image, read
from mclass_tf.local.containers.podman import CommandError, Commands, ContainerDriver
from mclass_tf.local.containers.process import ProcessDriver

_ENGINES = ("podman", "docker")
_REMEDY = "install podman, or start Docker, and start the task again; or build for processes: `build --builder builtin`"


class DelegatingDriver:
    """Delegates to the driver for the image: processes for images of the built-in builder, podman or docker for all others.

    `kind` is "process", "podman" or "docker"; None chooses by the image. `url` is the endpoint of the local AWS, and
    `serve_task` makes it reachable from a container.
    """

    def __init__(
        self,
        *,
        home: Path,
        images: Images,
        kind: str | None = None,
        instance_id: str,
        url: str,
        serve_task: ServeTask,
    ) -> None:
        self.name = kind or "automatic"
        self._home = home
        self._images = images
        self._kind = kind or ""
        self._instance_id = instance_id
        self._url = url
        self._serve_task = serve_task
        self._process = ProcessDriver(home=home, images=images)
        self._children = ChildProcesses()
        self._containers: ContainerDriver | None = None
        self._choosing = asyncio.Lock()
        self._read: dict[str, Image] = {}

    async def pull(self, manifest_digest: str) -> None:
        """Prepare the image for its driver. If there is no driver for it, do nothing: `start` raises the error."""
        driver = await self._driver(manifest_digest)
        if not isinstance(driver, ContainerStartError):
            await driver.pull(manifest_digest)

    async def start(self, container: ContainerSpec) -> RunningContainer:
        driver = await self._driver(container.manifest_digest)
        if isinstance(driver, ContainerStartError):
            raise driver
        return await driver.start(container)

    async def close(self) -> None:
        await self._children.close()  # first, so that no further engine is probed
        if self._containers is not None:
            await self._containers.close()
        await self._process.close()

    async def _driver(self, manifest_digest: str) -> Driver | ContainerStartError:
        """Return the driver for the image, or the error if none can run it."""
        image = self._read.get(manifest_digest)
        if image is None:
            image = self._read[manifest_digest] = await asyncio.to_thread(read, self._images, manifest_digest)
        if self._kind == "process" or (image.is_builtin and not self._kind):
            return self._process
        if image.is_builtin:
            return ContainerStartError(
                f"the image was made by the built-in builder, which leaves out what {self._kind} needs, an operating "
                f"system: build it by `build --builder {self._kind}`, or start the local AWS without --tasks"
            )
        async with self._choosing:
            return self._containers or await self._engine()

    async def _engine(self) -> Driver | ContainerStartError:
        """Return the first engine that works. Failures are not cached: the user may start an engine at any time."""
        problems = []
        for name in (self._kind,) if self._kind else _ENGINES:
            path = shutil.which(name)
            problem = "not installed" if path is None else await self._probe(name, path)
            if path is not None and problem is None:
                home = hashlib.sha256(str(self._home.resolve()).encode()).hexdigest()[:12]
                engine = ContainerEngine(name=name, path=path, home=home, instance_id=self._instance_id)
                folder = self._home / "tasks" / name
                self._containers = ContainerDriver(
                    engine, folder=folder, images=self._images, url=self._url, serve_task=self._serve_task
                )
                return self._containers
            problems.append(f"{name}: {problem}")
        return ContainerStartError(
            f"an image with an operating system needs podman or docker ({'; '.join(problems)}): {_REMEDY}"
        )

    async def _probe(self, name: str, path: str) -> str | None:
        """Return why the engine does not work, or None if it does. docker asks its daemon, podman its storage."""
        probe = (path, "version", "--format", "{{.Server.Version}}") if name == "docker" else (path, "info")
        try:
            await Commands(self._children, cwd=self._home).must(probe)
        except (CommandError, ExecError) as error:
            return str(error)
        return None

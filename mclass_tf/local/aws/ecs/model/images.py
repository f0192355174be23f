"""Resolves the image references of task definitions as a pull does.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from moto.ecr.models import ecr_backends

from mclass_tf.local import documents
from mclass_tf.local.aws import regions

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
ARCHITECTURES: Final = {"X86_64": "amd64", "ARM64": "arm64"}
"""The architectures of ECS, each with its name in an image."""
_LARGEST_CONFIGURATION = 4 * 1024 * 1024


def architecture_of(runtime_platform: Mapping[str, Any] | None) -> str:
    """Return the architecture that a task definition's `runtimePlatform` names, or ECS's default."""
    return str((runtime_platform or {}).get("cpuArchitecture") or "X86_64")


class UnresolvedImageError(Exception):
    """The reference leads to no image. The message follows "CannotPullContainerError: " in ECS's reason."""


class Blobs(Protocol):
    """The blob store of the registry."""

    def blob(self, digest: str) -> Path: ...


@dataclass(frozen=True, kw_only=True)
class ImageReference:
    """A reference to an image in ECR. `text` is the reference as the task definition has it."""

    text: str
    account_id: str
    region: str
    repository: str
    tag: str
    digest: str

    @property
    def host(self) -> str:
        return self.text.partition("/")[0]

    @property
    def version(self) -> str:
        """The digest or, without one, the tag: what a pull requests."""
        return self.digest or self.tag

    @property
    def repository_arn(self) -> str:
        return f"arn:aws:ecr:{self.region}:{self.account_id}:repository/{self.repository}"


@dataclass(frozen=True, kw_only=True)
class ResolvedImage:
    """An image. `digest` is that of the referenced manifest or index, `manifest_digest` that of the platform's manifest.

    `entry_point` is the program that it starts. `is_foreign`: it is for another processor than the task's.
    """

    digest: str
    manifest_digest: str
    manifest: str
    size_bytes: int
    entry_point: str = ""
    is_foreign: bool = False


def parse(text: str) -> ImageReference:
    """Raise UnresolvedImageError for an image outside ECR: the local AWS reaches no other registry."""
    parts = _ECR.fullmatch(text)
    if parts is None:
        raise UnresolvedImageError(
            f"pull image manifest has been retried 5 time(s): failed to resolve ref {text}: the local AWS pulls from "
            "Amazon ECR alone; push the image to a repository of it"
        )
    if not regions.is_known(parts["region"]):
        host = text.partition("/")[0]
        raise UnresolvedImageError(
            f"pull image manifest has been retried 5 time(s): failed to resolve ref {text}: failed to do request: "
            f"dial tcp: lookup {host}: no such host"
        )
    return ImageReference(
        text=text,
        account_id=parts["account"],
        region=parts["region"],
        repository=parts["repository"],
        tag=parts["tag"] or ("" if parts["digest"] else "latest"),
        digest=parts["digest"] or "",
    )


def resolve(reference: ImageReference, *, architecture: str, blobs: Blobs) -> ResolvedImage:
    """Return the image for the platform or raise UnresolvedImageError. This reads moto's state: call it under the lock.

    As in containerd, the platform chooses among the images of an index, and only there. A single image is pulled whatever its
    architecture, and fails when it starts (`is_foreign`). One that names no architecture is started: it may fit.
    https://github.com/containerd/containerd/blob/v1.7.0/images/image.go (`Manifest`)
    """
    wanted = ARCHITECTURES[architecture]
    repository = ecr_backends[reference.account_id][reference.region].repositories.get(reference.repository)
    image = None if repository is None else _find_image(repository, reference)
    if image is None:
        raise UnresolvedImageError(
            f"pull image manifest has been retried 1 time(s): failed to resolve ref {reference.text}: not found"
        )
    manifest = json.loads(image.image_manifest)
    chosen = (
        _manifest_for_platform(manifest, repository, architecture=wanted, blobs=blobs)
        if "manifests" in manifest
        else image
    )
    if chosen is None:
        raise UnresolvedImageError(
            "pull image manifest has been retried 7 time(s): image Manifest does not contain descriptor matching "
            f"platform 'linux/{wanted}'"
        )
    return _resolved(image.image_digest, chosen, architecture=wanted, blobs=blobs)


def _resolved(digest: str, chosen: Any, *, architecture: str, blobs: Blobs) -> ResolvedImage:
    manifest = json.loads(chosen.image_manifest)
    config = _configuration(manifest, blobs)
    own = str(config.get("architecture") or "")
    return ResolvedImage(
        digest=digest,
        manifest_digest=chosen.image_digest,
        manifest=chosen.image_manifest,
        size_bytes=_size(manifest),
        entry_point=_program(config),
        is_foreign=own not in {"", architecture},
    )


def check_storage(image: ResolvedImage, *, gib: int) -> None:
    """Raise UnresolvedImageError if the layers exceed the ephemeral storage of the task."""
    if image.size_bytes > gib * 1024**3:
        raise UnresolvedImageError(
            "ref pull has been retried 1 time(s): failed to extract layer: write: no space left on device: unknown"
        )


def store_manifest(image: ResolvedImage, *, blobs: Blobs) -> None:
    """Copy the manifest from ECR's state to the blobs, where the driver looks for it."""
    path = blobs.blob(image.manifest_digest)
    if path.exists():
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(image.manifest.encode())
    partial.replace(path)


def _find_image(repository: Any, reference: ImageReference) -> Any:
    for image in repository.images:
        if reference.digest and image.image_digest == reference.digest:
            return image
        if not reference.digest and reference.tag in image.image_tags:
            return image
    return None


def _manifest_for_platform(
    index: Mapping[str, Any], repository: Any, *, architecture: str, blobs: Blobs
) -> Any:
    by_digest = {image.image_digest: image for image in repository.images}
    for entry in index["manifests"]:
        image = by_digest.get(entry["digest"])
        # An entry without a platform has that of its configuration.
        platform = entry.get("platform") or (
            {} if image is None else _configuration(json.loads(image.image_manifest), blobs)
        )
        if platform.get("os") == "linux" and platform.get("architecture") == architecture:
            return image
    return None


def _configuration(manifest: Mapping[str, Any], blobs: Blobs) -> Mapping[str, Any]:
    """Return an image's configuration, empty if it cannot be read."""
    digest = (manifest.get("config") or {}).get("digest")
    try:
        return documents.parse_object(blobs.blob(str(digest)).read_bytes()[:_LARGEST_CONFIGURATION])
    except (OSError, ValueError):
        return {}


def _program(config: Mapping[str, Any]) -> str:
    runtime = config.get("config")
    own = runtime if isinstance(runtime, Mapping) else {}
    words = own.get("Entrypoint") or own.get("Cmd")
    return str(words[0]) if isinstance(words, list) and words else ""


def _size(manifest: Mapping[str, Any]) -> int:
    return sum(int(part.get("size", 0)) for part in manifest.get("layers", []))

"""The images that a digest may resolve to: itself, or the images of an index. ECR scans images, not indexes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mclass_tf.errors import Hint, NoImageError, PromotionRefusedError
from mclass_tf.image.registry import MANIFESTS

_MOST_AT_ONCE = 100  # limit of BatchGetImage
_MOST_IMAGES = 1000
_DEEPEST = 4


@dataclass(frozen=True, kw_only=True)
class ScannedImage:
    """An image that may run if a task definition names `digest`. `platform` is set for an image of an index."""

    image: str
    digest: str
    repository: str
    environment: str
    platform: str = ""

    def __str__(self) -> str:
        if self.image == self.digest:
            return f"{self.image} of {self.environment}"
        return f"{self.image} ({self.platform}, of the index {self.digest}) of {self.environment}"


@dataclass(frozen=True, kw_only=True)
class ImageIndex:
    """The content of a digest in a repository: an image, or an index of images and possibly further indexes."""

    ecr: Any
    digest: str
    repository: str
    environment: str
    _seen: dict[str, str] = field(default_factory=dict, init=False)

    def images(self) -> tuple[ScannedImage, ...]:
        """Return the images that ECS may run, of every platform: a later task may use another platform.

        Entries of the platform unknown/unknown are attestations, which no runtime chooses. Raises NoImageError if an image is
        gone, PromotionRefusedError if the content is not an image.
        """
        images = tuple(self._images({self.digest: ""}, depth=0))
        if not images:
            raise self._refused("is an index that names no image that could run")
        return images

    def _images(self, platforms: Mapping[str, str], *, depth: int) -> Iterator[ScannedImage]:
        """Yield the images among the manifests of `platforms`, keyed by digest, and of nested indexes."""
        new = {digest: platform for digest, platform in platforms.items() if digest not in self._seen}
        if not new:
            return
        if depth > _DEEPEST or len(self._seen) + len(new) > _MOST_IMAGES:
            raise self._refused("is an index that is nested too deeply, or names too many images")
        self._seen.update(new)
        inner: dict[str, str] = {}
        for digest, manifest in self._manifests(list(new)):
            entries = manifest.get("manifests")
            if entries is not None:
                inner.update(self._runnable(entries))
            # A manifest with both counts as both: runtimes differ in what they read.
            if entries is None or "layers" in manifest:
                yield ScannedImage(
                    image=digest,
                    digest=self.digest,
                    repository=self.repository,
                    environment=self.environment,
                    platform=new[digest],
                )
        yield from self._images(inner, depth=depth + 1)

    def _manifests(self, digests: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for first in range(0, len(digests), _MOST_AT_ONCE):
            batch = digests[first : first + _MOST_AT_ONCE]
            answer = self.ecr.batch_get_image(
                repositoryName=self.repository,
                imageIds=[{"imageDigest": each} for each in batch],
                acceptedMediaTypes=list(MANIFESTS),
            )
            manifests = {
                image["imageId"]["imageDigest"]: image["imageManifest"] for image in answer["images"]
            }
            reasons = {failure["imageId"]["imageDigest"]: failure for failure in answer.get("failures") or ()}
            for digest in batch:
                if digest not in manifests:
                    raise self._gone(digest, reasons.get(digest, {}))
                yield digest, self._parsed(manifests[digest])

    def _parsed(self, text: str) -> Mapping[str, Any]:
        try:
            manifest = json.loads(text)
        except (ValueError, RecursionError):
            manifest = None
        if not isinstance(manifest, dict):
            raise self._refused("has a manifest that cannot be read")
        return manifest

    def _runnable(self, entries: Any) -> Mapping[str, str]:
        """Return the platforms of an index's images, keyed by digest, without attestations."""
        try:
            platforms = [(str(entry["digest"]), _platform(entry.get("platform") or {})) for entry in entries]
        except (AttributeError, LookupError, TypeError):
            raise self._refused("is an index that cannot be read") from None
        # One digest may be listed twice, as an image and as an attestation.
        return {digest: platform for digest, platform in platforms if platform}

    def _gone(self, digest: str, failure: Mapping[str, Any]) -> NoImageError:
        reason = failure.get("failureReason") or failure.get("failureCode") or "no reason given"
        part = "" if digest == self.digest else f", which the index {self.digest} names,"
        return NoImageError(
            f"{digest}{part} cannot be read from the repository {self.repository} of {self.environment}: {reason}",
            hint=Hint("push it again (", ("push", self.environment), "), or release another image there"),
        )

    def _refused(self, what: str) -> PromotionRefusedError:
        return PromotionRefusedError(
            f"{self.digest} of {self.environment} {what}: its contents are unknown to every scan",
            hint="build and push the image again, then release it; `docker buildx imagetools inspect` shows what an index names",
            digest=self.digest,
        )


def _platform(platform: Mapping[str, Any]) -> str:
    """Return the platform as text, "" for attestations. An entry without one has it in the image's configuration."""
    system, architecture = platform.get("os"), platform.get("architecture")
    if system == architecture == "unknown":
        return ""
    parts = (system, architecture, platform.get("variant"))
    return "/".join(str(part) for part in parts if part) or "any platform"

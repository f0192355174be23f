"""The platforms that an image in a repository, or the images of an index, are built for."""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf.errors import CorruptedImageError
from mclass_tf.image import documents
from mclass_tf.image.architectures import ARCHITECTURES
from mclass_tf.image.layout import Descriptor
from mclass_tf.image.registry import Registry

_MOST_INDEXES = 4  # nested
_MOST_IMAGES = 1000


def fits(platforms: tuple[documents.Platform, ...], architecture: str) -> bool:
    """Return whether one of the platforms is that of tasks on `architecture`. An unknown platform fits nothing."""
    wanted = ARCHITECTURES[architecture]
    return any(each.architecture == wanted and each.os not in _OTHER_SYSTEMS for each in platforms)


# The built-in builder writes the name of this machine's system, which does not matter for its images.
_OTHER_SYSTEMS = frozenset(["windows", "unknown"])


def platforms_of(registry: Registry, digest: str) -> tuple[documents.Platform, ...]:
    """Return the platform of an image in a repository, or those of the images of an index, without its attestations.

    Raises NoImageError if a part is missing, CorruptedImageError if one cannot be read.
    """
    return tuple(dict.fromkeys(_platforms(registry, digest, seen=[], levels=_MOST_INDEXES)))


def _platforms(
    registry: Registry, digest: str, *, seen: list[str], levels: int
) -> Iterator[documents.Platform]:
    seen.append(digest)
    if len(seen) > _MOST_IMAGES or levels < 0:
        raise _unreadable(digest, "it is an index that is nested too deeply, or names too many images")
    try:
        document = documents.manifest(registry.manifest(digest).data)
        if document.config is not None and not document.manifests:
            data = registry.read(Descriptor.of(document.config))
            yield documents.configuration(data).platform
    except documents.MalformedError as error:
        raise _unreadable(digest, str(error)) from None
    for part in document.manifests:
        label = part.platform
        if label is not None and label.architecture == "unknown":
            continue  # an attestation
        built_for = _platforms(registry, part.digest, seen=seen, levels=levels - 1)
        # An entry without a platform has that of its image's configuration.
        yield from built_for if label is None or not label.architecture else [_agreed(label, list(built_for))]


def _agreed(label: documents.Platform, built_for: list[documents.Platform]) -> documents.Platform:
    """Return the platform that an index states for an image, or one that fits nothing if the image is built for another.

    A runtime chooses by what the index states, and the image fails to execute.
    """
    known = [each.architecture for each in built_for if each.architecture]
    if not known or label.architecture in known:
        return label
    what = f"{label.architecture} (in truth {', '.join(known)})"
    return documents.Platform(architecture=what, os=label.os, variant=label.variant)


def _unreadable(digest: str, why: str) -> CorruptedImageError:
    return CorruptedImageError(
        f"the image {digest} cannot be read: {why}",
        hint="whoever pushed it pushed no image: build the image again, and push it",
    )

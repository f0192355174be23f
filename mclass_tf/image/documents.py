"""Parses and validates untrusted manifests, indexes and configurations.

https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md , image-index.md and config.md
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

LARGEST = 4 * 1024 * 1024
"""Largest manifest in bytes: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-manifests ."""
_MOST_PARTS = 10_000

Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
MediaType = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.+-]{1,127}/[A-Za-z0-9_.+-]{1,127}\Z")]
Size = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class MalformedError(ValueError):
    """The bytes are not a valid document. The message says why; its subject is "it"."""


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    architecture: str = ""
    os: str = ""
    variant: str | None = None

    def __str__(self) -> str:
        if not self.architecture:
            return "a platform that it does not name"
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A descriptor in a manifest or an index. `urls` locate a layer that is stored elsewhere."""

    media_type: MediaType
    digest: Digest
    size: Size
    urls: tuple[str, ...] | None = None
    platform: Platform | None = None
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest, with a configuration and layers, or an index, with manifests."""

    config: Part | None = None
    layers: tuple[Part, ...] = ()
    manifests: tuple[Part, ...] = ()
    annotations: dict[str, str] | None = None


class RuntimeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to run an image: the fields that matter here."""

    env: tuple[str, ...] | None = msgspec.field(name="Env", default=None)
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    config: RuntimeConfig | None = None
    architecture: str = ""
    os: str = ""

    @property
    def platform(self) -> Platform:
        return Platform(architecture=self.architecture, os=self.os)


_T = TypeVar("_T")


def manifest(data: bytes) -> Manifest:
    """Return a manifest or an index; raise MalformedError."""
    parsed = _parse(data, Manifest)
    if parsed.config is None and not parsed.manifests:
        raise MalformedError("it names neither a configuration nor manifests")
    if len(parsed.layers) + len(parsed.manifests) > _MOST_PARTS:
        raise MalformedError(f"it names more than {_MOST_PARTS} parts")
    return parsed


def configuration(data: bytes) -> Configuration:
    """Return an image's configuration; raise MalformedError."""
    return _parse(data, Configuration)


def read(path: Path) -> bytes:
    """Return the bytes of a document; raise OSError, or MalformedError if it is too large."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise MalformedError(f"it has more than {LARGEST >> 20} MiB")
    return data


def _parse(data: bytes, kind: type[_T]) -> _T:
    if len(data) > LARGEST:
        raise MalformedError(f"it has more than {LARGEST >> 20} MiB")
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise MalformedError("it is nested too deeply") from None
    except ValueError as error:  # msgspec's own are ValueErrors
        raise MalformedError(f"it is no such document: {error}") from None

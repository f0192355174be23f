"""What an image's manifest and configuration say of how it is run.

https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf.local.tasks.driver import Images, PullError

BUILDER = "mclass-tf.builder"
PYTHON = "mclass-tf.python"
HOST_VARIABLE = "mclass-tf.host-variable"
PORT_VARIABLE = "mclass-tf.port-variable"
_LARGEST_DOCUMENT = 4 * 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """`size` is that of the blob, in bytes."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image. `digest` is its manifest's; `config` that of its configuration, by which podman and docker name it."""

    digest: str
    config: str
    layers: tuple[Layer, ...]
    entry_point: tuple[str, ...]
    command: tuple[str, ...]
    env: Mapping[str, str]
    labels: Mapping[str, str]
    stop_signal: int
    working_directory: str

    @property
    def is_builtin(self) -> bool:
        """Whether the built-in builder made it: there is no operating system in it."""
        return self.labels.get(BUILDER) == "builtin"


def read(images: Images, digest: str) -> Image:
    """Return what the manifest of that digest and its configuration say; raise PullError."""
    manifest = _document(images, digest)
    try:
        if "manifests" in manifest:
            raise PullError(f"{digest} is an index of images, not an image")
        config_digest = str(manifest["config"]["digest"])
        document = _document(images, config_digest)
        return _image(digest, config_digest, manifest["layers"], document.get("config") or {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PullError(f"the manifest or the configuration of {digest} is malformed: {error!r}") from None


def stop_signal(name: str) -> int:
    """Return the number of a signal as STOPSIGNAL names it: SIGTERM, TERM, 15, SIGRTMIN+3; raise ValueError."""
    text = name.strip().upper() or "SIGTERM"
    if text.isdigit():
        return int(signal.Signals(int(text)))
    text = text if text.startswith("SIG") else f"SIG{text}"
    base, _, distance = text.partition("+")
    if base not in signal.Signals.__members__:
        raise ValueError(f"{name} is no signal")
    return int(signal.Signals[base]) + int(distance or 0)


def _image(
    digest: str, config_digest: str, layers: list[Mapping[str, Any]], config: Mapping[str, Any]
) -> Image:
    return Image(
        digest=digest,
        config=config_digest,
        layers=tuple(
            Layer(
                media_type=str(layer["mediaType"]), digest=_checked(layer["digest"]), size=int(layer["size"])
            )
            for layer in layers
        ),
        entry_point=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        env=dict(entry.split("=", 1) for entry in config.get("Env") or () if "=" in entry),
        labels=dict(config.get("Labels") or {}),
        stop_signal=stop_signal(str(config.get("StopSignal") or "SIGTERM")),
        working_directory=str(config.get("WorkingDir") or "/"),
    )


def _document(images: Images, digest: str) -> dict[str, Any]:
    """Return the JSON blob of that digest."""
    try:
        with images.blob(_checked(digest)).open("rb") as file:
            data = file.read(_LARGEST_DOCUMENT)
    except OSError as error:
        raise PullError(f"{digest} cannot be read: {error.strerror}") from None
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise PullError(f"the bytes of {digest} are not those of this digest")
    try:
        document: dict[str, Any] = json.loads(data)
    except ValueError:
        raise PullError(f"{digest} is not JSON") from None
    return document


def _checked(digest: str) -> str:
    """A digest becomes part of a path: it must be one."""
    if not _DIGEST.fullmatch(digest):
        raise PullError(f"{digest!r} is not a SHA-256 digest")
    return digest

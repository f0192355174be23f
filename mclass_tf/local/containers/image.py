"""Reads how to run an image from its manifest and configuration.

https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md
"""

from __future__ import annotations

import hashlib
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf.local import documents
from mclass_tf.local.containers.driver import Images, PullError

MOST_LAYERS = 127
"""Layers that a container runtime can stack: https://docs.docker.com/engine/storage/drivers/overlayfs-driver/ ."""
BUILDER = "mclass-tf.builder"
PYTHON = "mclass-tf.python"
HOST_VARIABLE = "mclass-tf.host-variable"
PORT_VARIABLE = "mclass-tf.port-variable"
_LARGEST_DOCUMENT = 4 * 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """`size` is the size of the blob in bytes."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image. `digest` is that of its manifest. `config` is that of its configuration, the image id of podman and docker."""

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
        """Return whether the built-in builder made it: such an image contains no operating system."""
        return self.labels.get(BUILDER) == "builtin"


def read(images: Images, digest: str) -> Image:
    """Return the image whose manifest has this digest; raise PullError."""
    manifest = _document(images, digest)
    try:
        if "manifests" in manifest:
            raise PullError(f"{digest} is an index of images, not an image")
        if len(manifest["layers"]) > MOST_LAYERS:
            raise PullError(f"{digest} has more than {MOST_LAYERS} layers")
        config_digest = str(manifest["config"]["digest"])
        document = _document(images, config_digest)
        return _image(digest, config_digest, manifest["layers"], document.get("config") or {})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PullError(f"the manifest or the configuration of {digest} is malformed: {error!r}") from None


def stop_signal(name: str) -> int:
    """Return the number of a signal in the syntax of STOPSIGNAL: SIGTERM, TERM, 15, SIGRTMIN+3; raise ValueError."""
    text = name.strip().upper() or "SIGTERM"
    if text.isdigit():
        return int(signal.Signals(int(text)))
    text = text if text.startswith("SIG") else f"SIG{text}"
    base, _, distance = text.partition("+")
    if base not in signal.Signals.__members__:
        raise ValueError(f"{name} is no signal")
    number = int(signal.Signals[base]) + int(distance or 0)
    if number not in signal.valid_signals():
        raise ValueError(f"{name} is no signal")
    return number


def _image(
    digest: str, config_digest: str, layers: list[Mapping[str, Any]], config: Mapping[str, Any]
) -> Image:
    return Image(
        digest=digest,
        config=config_digest,
        layers=tuple(
            Layer(
                media_type=str(layer["mediaType"]),
                digest=_validated(layer["digest"]),
                size=int(layer["size"]),
            )
            for layer in layers
        ),
        entry_point=_strings(config.get("Entrypoint")),
        command=_strings(config.get("Cmd")),
        env=dict(entry.split("=", 1) for entry in _strings(config.get("Env")) if "=" in entry),
        labels={_string(name): _string(value) for name, value in (config.get("Labels") or {}).items()},
        stop_signal=stop_signal(_string(config.get("StopSignal") or "SIGTERM")),
        working_directory=_string(config.get("WorkingDir") or "/"),
    )


def _strings(value: Any) -> tuple[str, ...]:
    """Return the strings of a list or of null; raise TypeError or ValueError."""
    if not isinstance(value, list | None):
        raise TypeError(f"{value!r:.64} is no list")
    return tuple(_string(one) for one in value or ())


def _string(value: Any) -> str:
    """Return a string that can be a program argument; raise TypeError or ValueError."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.64} is no text")
    if "\0" in value:
        raise ValueError(f"{value!r:.64} has a NUL in it")
    return value


def _document(images: Images, digest: str) -> dict[str, Any]:
    try:
        with images.blob(_validated(digest)).open("rb") as file:
            data = file.read(_LARGEST_DOCUMENT)
    except OSError as error:
        raise PullError(f"{digest} cannot be read: {error.strerror}") from None
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise PullError(f"the bytes of {digest} are not those of this digest")
    try:
        return documents.parse_object(data)
    except documents.MalformedDocumentError as error:
        raise PullError(f"{digest} is not a JSON object: {error}") from None


def _validated(digest: Any) -> str:
    """Validate a digest, because it becomes part of a path."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise PullError(f"{digest!r} is not a SHA-256 digest")
    return digest

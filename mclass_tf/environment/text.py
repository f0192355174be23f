"""Read the files of an environment; quote values in messages."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mclass_tf.environment.model import BACKEND, SETTINGS, VARIABLES
from mclass_tf.errors import ConfigurationError

_LONGEST: Final = 200


def read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(
            "the file is missing",
            hint=f"an environment has {SETTINGS}, {VARIABLES} and {BACKEND}; copy those of another environment",
            file=file,
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read: {error.strerror}", hint="it is a text file in UTF-8", file=file
        ) from None


def read_text(file: Path) -> str:
    try:
        return read_bytes(file).decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"cannot be read: {error}", hint="it is a text file in UTF-8", file=file
        ) from None


def shown(value: object) -> str:
    """Return a value as a message quotes it, cut if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to print numbers of more than 4,300 digits
        return "a value too long to show"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

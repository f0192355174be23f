"""What lies in a bucket, taken for bytes from somebody else: who may be another version of this, another tool, or mean harm."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from mclass_tf.errors import DamagedObjectError

MOST = 64 * 1024 * 1024
"""Bytes that are read of an object: a state of thousands of resources has ten million."""

T = TypeVar("T")


def body(answer: Any, *, url: str) -> bytes:
    """Return the bytes of what `get_object` has answered; raise DamagedObjectError where they are too many."""
    content: bytes = answer["Body"].read(MOST + 1)
    if len(content) > MOST:
        raise DamagedObjectError(url, f"it has more than {MOST >> 20} MiB")
    return content


def parsed(content: bytes, kind: type[T], *, url: str) -> T:
    """Return the dataclass `kind` that JSON is to be; raise DamagedObjectError, with the reason, where it is not.

    Keys that `kind` has no field for are ignored: a later version may have written more.
    """
    if not content.strip():
        raise DamagedObjectError(url, "it is empty")
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        raise DamagedObjectError(url, _plainly(error)) from None


def _plainly(error: Exception) -> str:
    text = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return text if text.startswith("JSON") else text[:1].lower() + text[1:]

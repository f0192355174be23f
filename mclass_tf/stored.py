"""Parse objects of a bucket as untrusted bytes: another version, another tool or an attacker may have written them."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from mclass_tf.errors import DamagedObjectError

MOST = 64 * 1024 * 1024
"""The largest object to read, in bytes: a state of thousands of resources has ten million."""

T = TypeVar("T")


def body(answer: Any, *, url: str) -> bytes:
    """Return the body of a response of `get_object`; raise DamagedObjectError if it is too large."""
    content: bytes = answer["Body"].read(MOST + 1)
    if len(content) > MOST:
        raise DamagedObjectError(url, f"it has more than {MOST >> 20} MiB")
    return content


def parsed(content: bytes, kind: type[T], *, url: str) -> T:
    """Parse JSON as the dataclass `kind`; raise DamagedObjectError, with the reason, if it does not fit.

    Unknown keys are ignored: a later version may have written them.
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

"""The calls of a chapter: which operations, with which requests, answers and errors, by their shapes.

Values are not recorded, since an answer may hold passwords. Only the fields of an answer matter.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mclass_tf.conformance.anonymous import Anonymizer
from mclass_tf.conformance.recording import CallEntry, Shape, clipped

# Maps whose keys users choose. Such a key may be a name.
_MAPS = frozenset(
    {"attributes", "dockerlabels", "environment", "hookdetails", "labels", "metadata", "options", "tags", "tagsmap"}
)  # fmt: skip
_DEEPEST = 12
_OWN = "ResponseMetadata"


@dataclass(frozen=True, kw_only=True)
class _Key:
    service: str
    operation: str
    request: tuple[tuple[str, str], ...]
    answer: tuple[tuple[str, str], ...] | None
    code: str


class CallLog:
    """Collects calls. Those that look the same are one entry with a count. Safe to use from several threads."""

    def __init__(self, anonymizer: Anonymizer) -> None:
        self._anonymizer = anonymizer
        self._lock = threading.Lock()
        self._entries: dict[_Key, CallEntry] = {}
        self.clock: Callable[[], float] = lambda: 0.0

    def __call__(
        self, service: str, operation: str, request: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> None:
        """Add a call. The `answer` has `Error` if the call was refused."""
        error = answer.get("Error") or {}
        asked = shape(request, self._anonymizer.text)
        got = (
            None
            if error
            else shape({name: each for name, each in answer.items() if name != _OWN}, self._anonymizer.text)
        )
        code = self._anonymizer.text(str(error.get("Code", "")))
        key = _Key(
            service=service,
            operation=operation,
            request=tuple(asked.items()),
            answer=None if got is None else tuple(got.items()),
            code=code,
        )
        with self._lock:
            known = self._entries.get(key)
            if known is not None:
                self._entries[key] = msgspec.structs.replace(known, times=known.times + 1)
                return
            self._entries[key] = CallEntry(
                at=round(self.clock(), 1),
                service=service,
                operation=operation,
                request=asked,
                answer=got,
                code=code,
                message=clipped(self._anonymizer.text(str(error.get("Message", "")))),
            )

    def take(self) -> list[CallEntry]:
        """Return the collected entries, and start again with none."""
        with self._lock:
            entries, self._entries = list(self._entries.values()), {}
        return entries


def shape(document: Mapping[str, Any], named: Callable[[str], str] = str) -> Shape:
    """Return the JSON types of a document by their paths, in the order of the paths. `named` gives each key its name there."""
    types: dict[str, set[str]] = {}
    _walk(document, "", types, named, depth=0)
    return {path: "|".join(sorted(types[path])) for path in sorted(types)}


def _walk(
    value: Any, path: str, types: dict[str, set[str]], named: Callable[[str], str], *, depth: int
) -> None:
    if path:
        types.setdefault(path, set()).add(_type(value))
    if depth >= _DEEPEST:
        return
    if isinstance(value, Mapping):
        is_map = path.rpartition(".")[2].removesuffix("[]").lower() in _MAPS
        for key, each in value.items():
            name = named(str(key)) if not is_map and str(key).isascii() and str(key).isalnum() else "*"
            _walk(each, f"{path}.{name}" if path else name, types, named, depth=depth + 1)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _walk(each, f"{path}[]", types, named, depth=depth + 1)


def _type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, (int, float, dt.datetime)):
        return "number"  # in JSON, ECS's times are seconds since the epoch
    if isinstance(value, Mapping):
        return "object"
    if isinstance(value, (list, tuple)):
        return "array"
    return "string" if isinstance(value, (str, bytes)) else "stream"

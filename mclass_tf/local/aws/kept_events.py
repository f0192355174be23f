"""Bounds the number and size of the events in log streams, because moto keeps all of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

MOST_EVENTS = 50_000
"""Per stream."""
MOST_BYTES = 16 * 1024**2
"""Per stream, including the overhead of each event."""
MOST_BYTES_OF_ALL = 256 * 1024**2
"""For all streams of the instance. Beyond it, the largest streams lose their older half."""
_EVENT_OVERHEAD = 300  # bytes of moto's object, its numbers and its list entry

_sizes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


class PendingEvents:
    """The newest events that are not in their stream yet, as many as the stream would keep."""

    def __init__(self) -> None:
        self._events: deque[tuple[int, dict[str, Any]]] = deque()
        self._size = 0

    def extend(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            size = _size(event["message"])
            self._events.append((size, event))
            self._size += size
            while self._size > MOST_BYTES or len(self._events) > MOST_EVENTS:
                self._size -= self._events.popleft()[0]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for _, event in self._events]


def bound(stream: Any, *, added: int) -> None:
    """Drop the oldest events beyond the bounds, after `added` events were added to moto's stream. Call it under the API lock."""
    before = _sizes.get(stream)
    counted = stream.events if before is None else stream.events[len(stream.events) - added :]
    _sizes[stream] = (before or 0) + sum(_size(event.message) for event in counted)
    _trim(stream, most=MOST_BYTES)
    while sum(_sizes.values()) > MOST_BYTES_OF_ALL:
        largest = max(_sizes, key=lambda each: _sizes[each])
        _trim(largest, most=_sizes[largest] // 2)


def _trim(stream: Any, *, most: int) -> None:
    """Drop the oldest events until at most `most` bytes and MOST_EVENTS events are left."""
    dropped, size = max(0, len(stream.events) - MOST_EVENTS), _sizes[stream]
    size -= sum(_size(event.message) for event in stream.events[:dropped])
    while size > most and dropped < len(stream.events):
        size -= _size(stream.events[dropped].message)
        dropped += 1
    del stream.events[:dropped]
    _sizes[stream] = size


def _size(message: str) -> int:
    """Return the bytes in memory: a non-ASCII character may take four."""
    return _EVENT_OVERHEAD + (len(message) if message.isascii() else 4 * len(message))


def check_batch(events: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the problem with the events of one PutLogEvents call, or None.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
    """
    sizes = [len(event["message"].encode(errors="replace")) + 26 for event in events]
    if not 1 <= len(sizes) <= _MAX_BATCH_EVENTS:
        return f"1 validation error detected: logEvents must have 1 to {_MAX_BATCH_EVENTS} members, not {len(sizes)}"
    if sum(sizes) > _MAX_BATCH_BYTES:
        return f"Upload too large: {sum(sizes)} bytes exceeds limit of {_MAX_BATCH_BYTES}"
    if max(sizes) > _MAX_EVENT_BYTES:
        return f"Log event too large: {max(sizes)} bytes exceeds limit of {_MAX_EVENT_BYTES}"
    return None


_MAX_BATCH_EVENTS = 10_000
_MAX_BATCH_BYTES = 1_048_576
_MAX_EVENT_BYTES = 1_048_576

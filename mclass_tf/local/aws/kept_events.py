"""Keeps the events of log streams within bounds of number and size: moto has all of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

MOST_EVENTS = 50_000
"""Of a stream."""
MOST_BYTES = 16 * 1024**2
"""Of a stream, an event with what it takes beside its text."""
MOST_BYTES_OF_ALL = 256 * 1024**2
"""Of all streams of the instance: beyond it, the largest lose their first half."""
_OF_AN_EVENT = 300  # bytes of moto's object, its numbers and its place in the list

_sizes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


class Waiting:
    """Events that are not in their stream yet: the last ones, as many as it would keep."""

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
    """Let go of what is beyond the bounds, after so many events have come to a stream of moto's. Call it under the lock."""
    before = _sizes.get(stream)
    counted = stream.events if before is None else stream.events[len(stream.events) - added :]
    _sizes[stream] = (before or 0) + sum(_size(event.message) for event in counted)
    _trim(stream, most=MOST_BYTES)
    while sum(_sizes.values()) > MOST_BYTES_OF_ALL:
        largest = max(_sizes, key=lambda kept: _sizes[kept])
        _trim(largest, most=_sizes[largest] // 2)


def _trim(stream: Any, *, most: int) -> None:
    """Remove the first events until no more than `most` bytes and MOST_EVENTS events are left."""
    dropped, size = max(0, len(stream.events) - MOST_EVENTS), _sizes[stream]
    size -= sum(_size(event.message) for event in stream.events[:dropped])
    while size > most and dropped < len(stream.events):
        size -= _size(stream.events[dropped].message)
        dropped += 1
    del stream.events[:dropped]
    _sizes[stream] = size


def _size(message: str) -> int:
    """Return bytes in memory: of other than ASCII a character may take four."""
    return _OF_AN_EVENT + (len(message) if message.isascii() else 4 * len(message))


def check_batch(events: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what is wrong with the events of one PutLogEvents, if anything.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
    """
    sizes = [len(event["message"].encode(errors="replace")) + 26 for event in events]
    if not 1 <= len(sizes) <= _MOST_IN_BATCH:
        return f"1 validation error detected: logEvents must have 1 to {_MOST_IN_BATCH} members, not {len(sizes)}"
    if sum(sizes) > _LARGEST_BATCH:
        return f"Upload too large: {sum(sizes)} bytes exceeds limit of {_LARGEST_BATCH}"
    if max(sizes) > _LARGEST_EVENT:
        return f"Log event too large: {max(sizes)} bytes exceeds limit of {_LARGEST_EVENT}"
    return None


_MOST_IN_BATCH = 10_000
_LARGEST_BATCH = 1_048_576
_LARGEST_EVENT = 1_048_576

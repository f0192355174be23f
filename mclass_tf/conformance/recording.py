"""A recording: what a cloud did in the life of an environment, chapter by chapter, as one JSON document.

Recordings come from strangers. They are read strictly and within bounds, and nothing in them is run, opened or followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from mclass_tf.errors import ConfigurationError, Hint

FORMAT = 1
Cloud = Literal["aws", "local", "documented"]
AWS: Final = "aws"
LOCAL: Final = "local"
PRODUCTION, TEST = "production", "test"
_MOST_BYTES = 32 * 1024 * 1024
_MOST_ENTRIES = 200_000
_MOST_CHARACTERS = 4096
_MOST_CHAPTERS = 100
_LONGEST = 1e9  # seconds
_MOST_WEIGHT = 1000.0  # AWS's is 999
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

Shape = dict[str, str]
"""The JSON types of a document by their paths, such as `services[].events[].id: string`."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`at` counts seconds of AWS's time since the chapter began, None if unknown. `source` is the URL of a documented entry's source."""

    at: float | None = None
    source: str = ""


class CallEntry(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="call"):
    """Calls of one operation that look the same; `answer` is None and `code` is set if they were refused."""

    service: str
    operation: str
    request: Shape = {}
    answer: Shape | None = None
    code: str = ""
    message: str = ""
    times: int = 1


class EventEntry(
    _Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="event"
):
    """A service event."""

    message: str


class DeploymentEntry(
    _Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="deployment"
):
    """The new state of a service deployment."""

    deployment: str
    status: str
    stage: str = ""
    reason: str = ""
    breaker: str = ""
    hooks: tuple[str, ...] = ()


class TaskEntry(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="task"):
    """The new state of a task."""

    task: str
    status: str
    desired: str = ""
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None
    container_reason: str = ""


class TargetEntry(
    _Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="target"
):
    """The new state of a target; the state "" means that it is gone."""

    target: str
    state: str
    reason: str = ""


class WeightsEntry(
    _Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="weights"
):
    """The weights of a listener rule; `rule` is "production" or "test"."""

    rule: str
    weights: dict[str, float]


Entry = CallEntry | EventEntry | DeploymentEntry | TaskEntry | TargetEntry | WeightsEntry


class Chapter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One part of the life. `every` is the longest time between two looks, in AWS's seconds; None if there was no look.

    `is_complete`: every change was looked at when it happened, however far apart the other looks were.

    `outcome` says how the command ended: "done", or the class of its error.
    """

    name: str
    entries: tuple[Entry, ...] = ()
    every: float | None = None
    is_complete: bool = False
    seconds: float | None = None
    outcome: str = ""


class Recording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`is_partial`: what it leaves out was not observed, and means nothing."""

    format: int
    cloud: Cloud
    recorded_on: str = ""
    region: str = ""
    is_partial: bool = False
    versions: dict[str, str] = {}
    settings: dict[str, str] = {}
    chapters: tuple[Chapter, ...] = ()

    def chapter(self, name: str) -> Chapter | None:
        return next((chapter for chapter in self.chapters if chapter.name == name), None)


class _Versioned(msgspec.Struct):
    format: int


def encode(recording: Recording) -> bytes:
    """Return the recording as the content of a file."""
    return msgspec.json.format(msgspec.json.encode(recording, order="deterministic"), indent=1) + b"\n"


def read(path: Path) -> Recording:
    """Read a recording; raise ConfigurationError, with the reason, if the file is none."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from None
    if len(content) > _MOST_BYTES:
        raise _unreadable(path, f"it has more than {_MOST_BYTES >> 20} MiB")
    return decode(content, path=path)


def decode(content: bytes, *, path: Path) -> Recording:
    """Return the recording that `content` holds; `path` is for the error."""
    try:
        version = msgspec.json.decode(content, type=_Versioned).format
        if version != FORMAT:
            raise _unreadable(path, f"its format is {version}, and this version reads format {FORMAT}")
        recording = msgspec.json.decode(content, type=Recording)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _unreadable(path, f"it is no recording: {reason}") from None
    if (problem := next(_problems(recording), None)) is not None:
        raise _unreadable(path, problem)
    return recording


def _problems(recording: Recording) -> Iterator[str]:
    names = [chapter.name for chapter in recording.chapters]
    if len(set(names)) < len(names):
        yield "two chapters have the same name"
    if len(names) > _MOST_CHAPTERS:
        yield f"it has more than {_MOST_CHAPTERS} chapters"
    if sum(len(chapter.entries) for chapter in recording.chapters) > _MOST_ENTRIES:
        yield f"it has more than {_MOST_ENTRIES} entries"
    for text in _texts(msgspec.to_builtins(recording)):
        if len(text) > _MOST_CHARACTERS:
            yield f"a text in it has more than {_MOST_CHARACTERS} characters"
        if _CONTROL.search(text):
            yield "a text in it has control characters"
    for chapter in recording.chapters:
        yield from _problems_of_numbers(chapter)


def _problems_of_numbers(chapter: Chapter) -> Iterator[str]:
    """Arithmetic with numbers that no clock and no load balancer has would end in infinities, and in errors."""
    times = (chapter.every, chapter.seconds, *(entry.at for entry in chapter.entries))
    if not all(-_LONGEST <= time <= _LONGEST for time in times if time is not None):
        yield f"a time in it is beyond {_LONGEST:g} seconds"
    weights = (entry.weights.values() for entry in chapter.entries if isinstance(entry, WeightsEntry))
    if not all(0 <= weight <= _MOST_WEIGHT for own in weights for weight in own):
        yield f"a weight in it is not from 0 to {_MOST_WEIGHT:g}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from (*_texts(key), *_texts(each))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)


def _unreadable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"the recording {path} cannot be read: {reason}",
        hint=Hint("record one: ", ("conform", "ENV", "--out", "FILE")),
    )


def clipped(text: str) -> str:
    """Return a text as a recording may hold it: without control characters, and not too long."""
    return _CONTROL.sub(" ", text)[: _MOST_CHARACTERS - 1]

"""Containment of a library that logs through the root logger and wraps the streams: what it says is kept, and no one else notices."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class _Kept(logging.Handler):
    """Keeps messages of level ERROR and above."""

    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


class _AsBefore(logging.Handler):
    """Does for other loggers what logging does while nobody has configured it.

    Without any handler on the root logger `logging.debug()` would call `basicConfig()`, and everybody would then find
    a handler there that writes to standard error.
    """

    def emit(self, record: logging.LogRecord) -> None:
        last = logging.lastResort
        if last is not None and record.levelno >= last.level:
            last.handle(record)


@contextmanager
def quiet(*, library: str, folders: tuple[Path, ...]) -> Iterator[list[str]]:
    """Yield the list that collects the errors which `library` logs, from its own loggers or, if the call stands in a file
    under `folders`, on the root logger. Everything about logging, warnings and the standard streams is afterwards as it was.
    """
    kept = _Kept()
    places = tuple(f"{folder}/" for folder in folders)

    def elsewhere(record: logging.LogRecord) -> bool:
        if not record.pathname.startswith(places):
            return True
        if record.levelno >= kept.level:
            kept.emit(record)
        return False

    root, own, stand_in = logging.getLogger(), logging.getLogger(library), _AsBefore()
    propagate = own.propagate
    bare = not root.handlers
    root.addFilter(elsewhere)
    own.addHandler(kept)
    own.propagate = False
    if bare:
        root.addHandler(stand_in)
    silenced = _silenced()
    streams = sys.stdout, sys.stderr
    try:
        yield kept.messages
    finally:
        root.removeHandler(stand_in)
        root.removeFilter(elsewhere)
        own.removeHandler(kept)
        own.propagate = propagate
        # Checkov has colorama wrap them, which then resets a terminal's colours after every line of everybody.
        sys.stdout, sys.stderr = streams
        for entry in _silenced() - silenced:
            # Checkov ignores every SyntaxWarning of the process, for good, each time it renders variables.
            warnings.filters.remove(entry)  # type: ignore[attr-defined]  # typed as an immutable sequence, and a list


def _silenced() -> set[object]:
    """Return the warning filters that silence a whole built-in class of warnings everywhere."""
    return {
        f for f in warnings.filters if f[:2] == ("ignore", None) and f[2] is SyntaxWarning and f[3] is None
    }

"""Writes a recording, chapter by chapter, while other code runs releases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from mclass_tf.conformance.anonymous import Anonymizer
from mclass_tf.conformance.calls import CallLog
from mclass_tf.conformance.recording import Chapter, Entry
from mclass_tf.conformance.watcher import View, Watcher

DONE = "done"


class Recorder:
    """`now` is AWS's time since the epoch; the clock runs `speed` times as fast as AWS's.

    With `every`, a thread looks again after so many seconds. Without it, `look` is called at every change, so that nothing is
    missed.
    """

    def __init__(
        self, anonymizer: Anonymizer, *, now: Callable[[], float], speed: float, every: float | None = None
    ) -> None:
        self.calls = CallLog(anonymizer)
        self.calls.clock = lambda: self._seconds(now())
        self._anonymizer = anonymizer
        self._now = now
        self._speed = speed
        self._every = every
        self._began = now()
        self._watcher: Watcher | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._chapters: list[Chapter] = []
        self._problems: frozenset[str] = frozenset()

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        return tuple(self._chapters)

    @property
    def problems(self) -> tuple[str, ...]:
        """Return descriptions of what could not be read."""
        return tuple(sorted(self._problems))

    def learn(self, names: Mapping[str, str]) -> None:
        """From now on, also replace these names; each is mapped to its kind."""
        self._anonymizer.learn(names)

    def watch(self, view: View) -> None:
        """Start to watch a service that exists from now on."""
        self._watcher = Watcher(view, self._anonymizer, now=self._now, seconds=self._seconds)
        self.look()
        self._watcher.take()
        if self._every is not None:
            self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._watcher is not None:
            self._problems = frozenset(self._watcher.problems)
        self._watcher = None

    def look(self) -> None:
        if self._watcher is not None:
            self._watcher.look()

    @contextmanager
    def chapter(self, name: str) -> Iterator[None]:
        """Record a chapter during the block. If the block fails, keep the chapter, with the class of the error."""
        self._began = self._now()
        self.calls.take()
        if self._watcher is not None:
            self._watcher.take()
            self.look()
        outcome = DONE
        try:
            yield
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            self._end(name, outcome)

    def _end(self, name: str, outcome: str) -> None:
        self.look()
        entries: list[Entry] = []
        every: float | None = None
        if self._watcher is not None:
            entries, every = self._watcher.take()
        entries += self.calls.take()
        entries.sort(key=lambda entry: entry.at or 0.0)
        self._chapters.append(
            Chapter(
                name=name,
                entries=tuple(entries),
                every=None if every is None else round(every, 1),
                is_complete=self._watcher is not None and self._every is None,
                seconds=round(self._seconds(self._now()), 1),
                outcome=outcome,
            )
        )

    def _seconds(self, time: float) -> float:
        """Return how many of AWS's seconds after the beginning of the chapter a time is."""
        return (time - self._began) * self._speed

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self.look()

"""Shows a rollout while it goes on: a block that is redrawn on a terminal, one line per change elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TextIO

from mclass_tf import terminal
from mclass_tf.errors import ServiceEvent
from mclass_tf.rollout import DeploymentTasks, View

_MINUTE = 60
_UP_AND_CLEAR = "\x1b[1A\x1b[2K"


class Live:
    """Takes each view of a rollout; `width` is that of the terminal, None where there is none."""

    def __init__(self, stream: TextIO, *, width: int | None) -> None:
        self._stream = stream
        self._width = width
        self._lock = threading.Lock()  # problems of the ledger are reported from a thread of its own
        self._drawn = 0
        self._block: list[str] = []
        self._shown: View | None = None

    def show(self, view: View) -> None:
        with self._lock:
            self._show(view)

    def _show(self, view: View) -> None:
        lines = [event_line(event) for event in view.events]
        if self._width is None:
            still = _still(view)
            self._write(lines if still == self._shown else [*lines, terminal.safe(one_line(view))])
            self._shown = still
            return
        self._block = [cut(terminal.safe(line), self._width) for line in block(view)]
        self._write([_UP_AND_CLEAR * self._drawn + "\n".join([*lines, *self._block])])
        self._drawn = len(self._block)

    def above(self, text: str, tell: Callable[[str], None]) -> None:
        """Have `tell` tell something above the block, which would else be drawn over it."""
        with self._lock:
            with suppress(OSError):
                self._stream.write(_UP_AND_CLEAR * self._drawn)
                self._stream.flush()
            tell(text)
            self._write(["\n".join(self._block)] if self._drawn else [])

    def keep(self) -> None:
        """Leave what is drawn where it is: what is written next comes below it."""
        self._drawn = 0

    def _write(self, lines: Sequence[str]) -> None:
        # A terminal that was closed, or a reader that has gone, stops no work.
        with suppress(OSError):
            for line in lines:
                print(line, file=self._stream)
            self._stream.flush()


def _still(view: View) -> View:
    """Return what is news where every change is a line: neither the clock, nor the figures of a comparison."""
    verdict = view.analysis.partition(":")[0]
    return replace(view, elapsed=0.0, events=(), left=None, analysis=verdict)


def block(view: View) -> list[str]:
    """Return the rollout as a few lines: the stage, then the tasks of each revision."""
    head = f"{_seconds(view.elapsed)}  {_stage(view)}"
    rows = [f"  {'new' if each.is_new else 'old'}  {_name(each):<24} {_counts(each)}" for each in view.tasks]
    lines = [head, *rows, *(f"  {words}" for words in (view.analysis, view.notice) if words)]
    return list(map(terminal.inline, lines))


def one_line(view: View) -> str:
    """Return the rollout as one line."""
    tasks = [f"{'new' if each.is_new else 'old'} {_counts(each)}" for each in view.tasks]
    words = "; ".join([*tasks, *filter(None, (view.analysis, view.notice))])
    return terminal.inline(f"{_seconds(view.elapsed)}  {_stage(view)}{': ' if words else ''}{words}")


def event_line(event: ServiceEvent) -> str:
    return terminal.safe(terminal.inline(f"{event.at:%H:%M:%S}  {event.message}"))


def cut(line: str, width: int) -> str:
    """Cut a line that the terminal would wrap: the redrawing counts lines."""
    return terminal.cut(line, max(width - 1, 1))


def _stage(view: View) -> str:
    """Return the stage, with the new version's share of the traffic where ECS shifts that."""
    shares = (("production", view.production), ("test", view.test))
    shifted = [f"{what} {share:g} %" for what, share in shares if share is not None]
    stage = view.stage or "waiting for ECS"
    if view.left is not None:
        stage = f"{stage}, {_duration(view.left)} left"
    return f"{stage}, new version: {', '.join(shifted)}" if shifted else stage


def _counts(tasks: DeploymentTasks) -> str:
    parts = [f"{tasks.running}/{tasks.desired} running", f"{tasks.healthy} healthy"]
    parts += [f"{tasks.pending} pending"] if tasks.pending else []
    parts += [f"{tasks.failed} failed"] if tasks.failed else []
    return ", ".join(parts)


def _name(tasks: DeploymentTasks) -> str:
    return tasks.task_definition_arn.rsplit("/", 1)[-1]


def _duration(seconds: float) -> str:
    """Return "3 min 10 s", without what is 0."""
    minutes, rest = divmod(round(seconds), _MINUTE)
    parts = [f"{minutes} min"] if minutes else []
    return " ".join([*parts, *([f"{rest} s"] if rest or not minutes else [])])


def _seconds(elapsed: float) -> str:
    return f"{elapsed:6.1f} s"

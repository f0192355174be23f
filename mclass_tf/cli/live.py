"""Show the progress of a rollout: as a block that is redrawn on a terminal, else as one line per change."""

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


class RolloutDisplay:
    """Shows each view of a rollout. `width` is that of the terminal, None without one."""

    def __init__(self, stream: TextIO, *, width: int | None) -> None:
        self._stream = stream
        self._width = width
        self._lock = threading.Lock()  # another thread reports problems of the ledger
        self._drawn = 0
        self._block: list[str] = []
        self._shown: View | None = None

    def show(self, view: View) -> None:
        with self._lock:
            self._show(view)

    def _show(self, view: View) -> None:
        lines = [event_line(event) for event in view.events]
        if self._width is None:
            stable = _stable(view)
            self._write(lines if stable == self._shown else [*lines, terminal.safe(one_line(view))])
            self._shown = stable
            return
        self._block = [cut(terminal.safe(line), self._width) for line in block(view)]
        self._write([_UP_AND_CLEAR * self._drawn + "\n".join([*lines, *self._block])])
        self._drawn = len(self._block)

    def above(self, text: str, report: Callable[[str], None]) -> None:
        """Report `text` above the block, which would otherwise be drawn over it."""
        with self._lock:
            with suppress(OSError):
                self._stream.write(_UP_AND_CLEAR * self._drawn)
                self._stream.flush()
            report(text)
            self._write(["\n".join(self._block)] if self._drawn else [])

    def keep(self) -> None:
        """Keep the drawn block: later output goes below it."""
        self._drawn = 0

    def _write(self, lines: Sequence[str]) -> None:
        # A closed terminal or pipe must not stop the work.
        with suppress(OSError):
            for line in lines:
                print(line, file=self._stream)
            self._stream.flush()


def _stable(view: View) -> View:
    """Return the view without what changes constantly: the times, the events, the figures of the analysis."""
    verdict = view.analysis.partition(":")[0]
    return replace(view, elapsed=0.0, events=(), left=None, analysis=verdict)


def block(view: View) -> list[str]:
    """Return the rollout as a few lines: the stage, then the tasks of each version."""
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
    """Cut a line so that the terminal does not wrap it: redrawing counts lines."""
    return terminal.cut(line, max(width - 1, 1))


def _stage(view: View) -> str:
    """Return the stage, with the new version's share of the traffic if ECS shifts it."""
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
    """Return a duration such as "3 min 10 s", without a part that is 0."""
    minutes, rest = divmod(round(seconds), _MINUTE)
    parts = [f"{minutes} min"] if minutes else []
    return " ".join([*parts, *([f"{rest} s"] if rest or not minutes else [])])


def _seconds(elapsed: float) -> str:
    return f"{elapsed:6.1f} s"

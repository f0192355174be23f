"""Each test has a time limit: a hanging test is named within five minutes.

There are three limits, each a little later than the one before:

1. A command started by a test has the rest of the test's time (`seconds_left`), so its failure names the command.
2. pytest-timeout raises in the test when its time is over (`timeout` in pyproject.toml, or the marker of that name). The time
includes set-up and tear-down of fixtures.
3. If the test ignores that, or its tear-down hangs, its worker exits: xdist names the test and ends the run. (It would give the
same test to the next worker, and so on: hence --max-worker-restart=0.)
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

COMMAND_SECONDS = 230.0
"""Time limit of a command that does not count against a test."""
_MARGIN = 10.0  # seconds left for the test after its command timed out
_GRACE = 45.0  # seconds for tear-down after the limit, before the worker exits


@dataclass
class _Watch:
    """Ends this process some time after a deadline on the monotonic clock, however it hangs."""

    errors: int = 2
    deadline: float | None = None

    def start(self, deadline: float) -> None:
        self.deadline = deadline
        left = max(deadline + _GRACE - time.monotonic(), 1.0)
        faulthandler.dump_traceback_later(left, file=self.errors, exit=True)

    def stop(self) -> None:
        self.deadline = None
        faulthandler.cancel_dump_traceback_later()


_watch = _Watch()


def seconds_left() -> float:
    """Return the time limit for a command started now."""
    if _watch.deadline is None:
        return COMMAND_SECONDS
    return max(_watch.deadline - _MARGIN - time.monotonic(), 1.0)


@contextmanager
def set_aside() -> Iterator[None]:
    """Pause the test's time limit: for set-up shared by many tests, whose commands have limits of their own."""
    deadline, began = _watch.deadline, time.monotonic()
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)  # pytest-timeout's timer
    _watch.stop()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        if deadline is not None:
            _watch.start(deadline + time.monotonic() - began)


class TimeLimits:
    """A pytest plugin that implements the third limit and provides the deadline of the first."""

    def __init__(self) -> None:
        _watch.errors = os.dup(2)  # before pytest captures it

    @pytest.hookimpl(wrapper=True)
    def pytest_timeout_set_timer(self, settings: Any) -> Generator[None, object, object]:
        _watch.start(time.monotonic() + settings.timeout)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            _watch.stop()

    @pytest.hookimpl(trylast=True)
    def pytest_exception_interact(self) -> None:
        """Restart the watch while a failed test tears down: pytest has just cancelled all timers."""
        if _watch.deadline is not None:
            _watch.start(_watch.deadline)

    def pytest_enter_pdb(self) -> None:
        _watch.stop()

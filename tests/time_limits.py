"""Each test has a time limit: one that hangs is named within five minutes.

Three lines, each a little after the one before:

1. A command that a test runs has what is left of the test's time (`seconds_left`): its failure names the command.
2. pytest-timeout raises in the test when its time is over (`timeout` in pyproject.toml, or the marker of that name). It counts
   the set-up of fixtures and what they tidy up.
3. What does not heed that, or hangs while it tidies up, ends with its worker: xdist names the test and ends the run. (It would
   give the same test to the next worker, and so on: hence --max-worker-restart=0.)
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
"""What a command may take that has time of its own."""
_MARGIN = 10.0  # seconds that are left to a test when a command of its is given up
_GRACE = 45.0  # seconds to tidy up after the limit, before the worker is ended


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
    """Return how long a command may take that is started now."""
    if _watch.deadline is None:
        return COMMAND_SECONDS
    return max(_watch.deadline - _MARGIN - time.monotonic(), 1.0)


@contextmanager
def set_aside() -> Iterator[None]:
    """Let the test's time stand still: for what is made once for many tests, by commands that have limits of their own."""
    deadline, began = _watch.deadline, time.monotonic()
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)  # which is pytest-timeout's
    _watch.stop()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        if deadline is not None:
            _watch.start(deadline + time.monotonic() - began)


class TimeLimits:
    """A plugin of pytest: the third line, and what the first one goes by."""

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
        """Go on while a test that has failed tidies up: pytest has just called off every such watch."""
        if _watch.deadline is not None:
            _watch.start(_watch.deadline)

    def pytest_enter_pdb(self) -> None:
        _watch.stop()

"""Make tracebacks and log messages of libraries on standard error safe for a terminal."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

from mclass_tf.terminal import safe


def guard() -> None:
    """Install the hooks in this process."""
    sys.excepthook = _show
    threading.excepthook = lambda failed: _show(failed.exc_type, failed.exc_value, failed.exc_traceback)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Safe())


class _Safe(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


def _show(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    sys.stderr.write(safe("".join(traceback.format_exception(kind, error, trace))))

"""`python -m mclass_tf` and the script `mclass-tf`."""

import gc
import logging
import os
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType

from mclass_tf.cli import main
from mclass_tf.terminal import safe


def run() -> None:
    # A command lives for seconds: to collect the cycles among Checkov's million objects costs more than it frees.
    gc.disable()
    _open_streams()
    _guard_streams()
    status = main(sys.argv[1:])
    gc.freeze()  # nor are they collected one last time at exit, which would take most of a second
    sys.exit(status)


def _open_streams() -> None:
    """Let a stream that was closed lead nowhere, and let no character be one that cannot be printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # It takes the lowest descriptor, which is the closed one: no file of ours can land there.
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # for good
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")


class _Safe(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


def _guard_streams() -> None:
    """Let what Python itself writes on standard error steer no terminal: tracebacks, and what libraries log."""
    sys.excepthook = _show_traceback
    threading.excepthook = lambda failed: _show_traceback(
        failed.exc_type, failed.exc_value, failed.exc_traceback
    )
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Safe())


def _show_traceback(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    sys.stderr.write(safe("".join(traceback.format_exception(kind, error, trace))))


if __name__ == "__main__":
    run()

"""`python -m app`: reads the settings, serves, and exits."""

import signal

# Process 1 of a container has no default action for SIGTERM, so a signal before the handler is installed would be lost.
# Blocked, it stays pending until then.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})

import asyncio
import logging
import os
import sys

import uvloop

from app import logs
from app.server import serve
from app.settings import SettingsError, load

WRONG_SETTINGS = 3
_log = logging.getLogger("app.settings")


def main() -> int:
    """Serve; return the exit code."""
    try:
        settings = load(os.environ)
    except SettingsError as error:
        logs.configure("INFO")
        for problem in error.problems:
            _log.critical(problem)
        return WRONG_SETTINGS
    logs.configure(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings))


if __name__ == "__main__":
    sys.exit(main())

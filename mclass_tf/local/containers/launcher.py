"""A script that executes a program that dies with its parent process: `PARENT FD PROGRAM ARGUMENTS…`.

It is a separate script, because Python code between fork and exec may hang in a process with threads. If the program cannot be
executed, it writes the error to FD, which the program does not inherit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent: str, descriptor: str, program: str, *arguments: str) -> None:
    errors = int(descriptor)
    os.set_inheritable(errors, False)
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it died before PR_SET_PDEATHSIG took effect
            os._exit(1)
        _reset_signals()
        os.execv(program, (program, *arguments))  # noqa: S606
    except OSError as error:
        os.write(errors, str(error.strerror).encode())
    os._exit(1)


def _reset_signals() -> None:
    """Restore default signal handling, as at a container's start, whatever the server inherited from its shell."""
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):  # SIGKILL and SIGSTOP stay as they are
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


if __name__ == "__main__":
    main(*sys.argv[1:])

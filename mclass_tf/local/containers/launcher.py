"""A script that becomes another program, which dies with the process that started it: `PARENT FD PROGRAM ARGUMENTS…`.

It runs between fork and exec in a process of its own, since Python code in the fork of a process with threads may hang.
What keeps it from becoming the program, it writes to FD, which the program does not inherit.
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
        if os.getppid() != int(parent):  # it has died before it could be followed
            os._exit(1)
        _reset_signals()
        os.execv(program, (program, *arguments))  # noqa: S606
    except OSError as error:
        os.write(errors, str(error.strerror).encode())
    os._exit(1)


def _reset_signals() -> None:
    """Block and ignore no signal, as at a container's start, whatever holds in the shell that the server came from."""
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):  # SIGKILL and SIGSTOP stay as they are
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


if __name__ == "__main__":
    main(*sys.argv[1:])

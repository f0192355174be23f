"""Tells whether process 1 of a container would receive a signal."""

from __future__ import annotations

import sys
from pathlib import Path

_FIELDS = ("SigBlk:", "SigCgt:", "SigIgn:")


def would_receive(pid: int, number: int) -> bool:
    """Return whether the process handles, ignores or blocks the signal; True if the system does not tell.

    The kernel drops signals to process 1 of a container that would take their default action. A service, or the shell in front of
    it, that does not handle SIGTERM runs until SIGKILL. https://man7.org/linux/man-pages/man7/pid_namespaces.7.html
    """
    if sys.platform != "linux":
        return True
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return True
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(_FIELDS)]
    return any(mask >> (number - 1) & 1 for mask in masks)

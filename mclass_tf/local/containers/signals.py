"""Whether a process would notice a signal if it were the first process of a container."""

from __future__ import annotations

import sys
from pathlib import Path

_FIELDS = ("SigBlk:", "SigCgt:", "SigIgn:")


def heeds(pid: int, number: int) -> bool:
    """Return whether the process handles or holds back the signal.

    The kernel sends the first process of a container no signal that it would merely die of: a service that does not handle
    SIGTERM, or a shell in front of it, goes on until SIGKILL. https://man7.org/linux/man-pages/man7/pid_namespaces.7.html
    Where the system does not tell, the answer is yes.
    """
    if sys.platform != "linux":
        return True
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return True
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(_FIELDS)]
    return any(mask >> (number - 1) & 1 for mask in masks)

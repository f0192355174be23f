"""A script that kills process groups when the process that started it is gone, however it went.

It reads `+GROUP` and `-GROUP` by the line; at the end of its input, which comes when the other end of the pipe closes, it kills
the groups that are left. The kernel kills the child of a dead parent by itself (`launcher`), on Linux; what that child had
started, and any child on macOS, only this one does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()

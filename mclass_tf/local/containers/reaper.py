"""A script that cleans up after its parent process, however that process ended.

It reads lines: `+GROUP` adds a process group, `~PID` a supervisor, `!["program", …]` a command; `-ID` removes a group or supervisor
that has ended. At the end of its input, when the parent is gone, it terminates the supervisors, kills the groups, and runs the
commands, which remove what is nobody's child, such as containers. On Linux the kernel kills the direct children of a dead parent
(`launcher`). Only this script kills their descendants, and any child on macOS.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    groups: set[int] = set()
    supervisors: set[int] = set()
    commands: list[list[str]] = []
    for line in sys.stdin:
        if line[0] == "!":
            commands.append(json.loads(line[1:]))
        elif line[0] == "-":
            groups.discard(int(line[1:]))
            supervisors.discard(int(line[1:]))
        else:
            (groups if line[0] == "+" else supervisors).add(int(line[1:]))
    for supervisor in supervisors:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(supervisor, signal.SIGTERM)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    for command in commands:
        with contextlib.suppress(OSError):
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )


if __name__ == "__main__":
    main()

"""A script that ends what a process has started when that process is gone, however it went.

It reads lines: `+GROUP` of process groups, `~PID` of keepers, `-ID` of either that has ended, `!["program", …]` of a command. At the end of its input, which comes when the
other end of the pipe closes, it tells the keepers that are left to end what they keep, kills the groups, and runs the commands, which end what is nobody's child, such as
containers. The kernel kills the child of a dead parent by itself (`launcher`), on Linux; what that child had started, and any
child on macOS, only this one does.
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
    keepers: set[int] = set()
    commands: list[list[str]] = []
    for line in sys.stdin:
        if line[0] == "!":
            commands.append(json.loads(line[1:]))
        elif line[0] == "-":
            groups.discard(int(line[1:]))
            keepers.discard(int(line[1:]))
        else:
            (groups if line[0] == "+" else keepers).add(int(line[1:]))
    for keeper in keepers:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(keeper, signal.SIGTERM)
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

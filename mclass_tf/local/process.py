"""Identifies processes by more than their id, which the system reuses."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_DEAD = ("Z", "X")  # states of /proc/PID/stat
_LISTEN = "0A"  # the state column of /proc/net/tcp


def command_line(pid: int) -> str | None:
    """Return the command line of a live process; None if it does not exist, is a zombie, or the system does not tell."""
    if (_PROC / "self").exists():  # an unmounted /proc is an empty folder
        try:
            raw = (_PROC / str(pid) / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        return raw.replace(b"\0", b" ").decode(errors="replace").strip() or None
    ps = shutil.which("ps") or "/bin/ps"
    try:
        listing = subprocess.run(
            [ps, "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return listing.stdout.strip() or None


def can_tell() -> bool:
    """Return whether processes can be identified, which takes /proc or ps."""
    return command_line(os.getpid()) is not None


def is_instance(*, pid: int, instance_id: str) -> bool:
    """Return whether the process is the server of that instance, by the random id in its command line."""
    command = command_line(pid)
    return command is not None and instance_id in command


def stop_instance(*, pid: int, instance_id: str, patience: float) -> bool:
    """Send SIGTERM, and after `patience` seconds SIGKILL; return whether the process is gone."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if not is_instance(pid=pid, instance_id=instance_id):
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            _reap(pid)
            if _has_gone(pid=pid, instance_id=instance_id):
                return True
            time.sleep(0.01)
    return False


def listener_on(port: int) -> str | None:
    """Return `name (pid N)` of the process that listens on a TCP port; None if unknown."""
    for inode in _listening_inodes(port):
        for pid in _pids_with_socket(inode):
            words = (command_line(pid) or "").split()
            return f"{Path(words[0]).name if words else 'a process'} (pid {pid})"
    return None


def _has_gone(*, pid: int, instance_id: str) -> bool:
    """Return whether the process has released everything: it loses its command line before it closes its port."""
    command = command_line(pid)
    if command is not None:
        return instance_id not in command
    try:
        state = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
        # Other threads can outlive the first one and keep files open.
        threads = len(list((_PROC / str(pid) / "task").iterdir()))
    except OSError:
        return True
    return state in _DEAD and threads <= 1


def _reap(pid: int) -> None:
    """Collect the exit status if the process is our child, so that no zombie stays."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rsplit(":", 1)[1], 16) == port:
                yield columns[9]


def _pids_with_socket(inode: str) -> Iterator[int]:
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) == f"socket:[{inode}]":
                        yield int(folder.name)

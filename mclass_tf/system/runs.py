"""Keeps the output and identity of a process that may outlive its command in files."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import msgspec

_PROC = Path("/proc")
# Indexes of fields of /proc/PID/stat, counted from the state, which follows the name: proc_pid_stat(5).
_GROUP = 2
_START_TIME = 19
_DEAD = ("Z", "X")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Identifies a process: `what` it does, since when, its id, and its start time, which reveals a reused id.

    `pid` is 0 if the command died before it recorded the id.
    """

    what: str
    since: str
    pid: int = 0
    started: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a dead command has left of a process. `pid` is 0 if the process has ended or is unknown."""

    what: str
    since: str
    is_running: bool
    pid: int
    group: int
    stdout: str
    stderr: str


@dataclass(frozen=True, kw_only=True)
class Files:
    """The open files that the process inherits as its output."""

    stdout: IO[bytes]
    stderr: IO[bytes]


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The folder for the output and the record of one process at a time, readable by the owner only.

    The process holds a lock on its output for as long as it lives. So the lock shows whether it runs, even if its id was never
    recorded, and without /proc.
    """

    path: Path

    @property
    def stdout(self) -> Path:
        return self.path / "stdout"

    @property
    def stderr(self) -> Path:
        return self.path / "stderr"

    @contextmanager
    def opened(self, what: str) -> Iterator[Files]:
        """Yield the files for a process that does `what`. They replace those of the previous process, which must have ended.

        Raises OSError if the folder is not writable; then the process must not be started.
        """
        self.clear()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _created(self.stdout) as stdout, _created(self.stderr) as stderr:
            fcntl.flock(stdout, fcntl.LOCK_EX | fcntl.LOCK_NB)
            since = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
            self._write(RunRecord(what=what, since=since))
            yield Files(stdout=stdout, stderr=stderr)

    def note(self, pid: int) -> None:
        """Add the process id to the record. If the disk is full, the lock still shows that the process runs."""
        record = self._record()
        if record is not None:
            with suppress(OSError):
                self._write(replace(record, pid=pid, started=start_time(pid)))

    def clear(self) -> None:
        """Delete the output and the record."""
        for file in (self._record_file, self.stdout, self.stderr):
            file.unlink(missing_ok=True)

    def left(self) -> Run | None:
        """Return what is left of a process; None if its command has reported everything."""
        record = self._record()
        if record is None:
            return None
        is_same = record.pid > 0 and record.started in ("", start_time(record.pid))
        # On NFS, a lock belongs to the process that took it, so it ended with the command.
        is_running = _is_locked(self.stdout) or (is_same and record.started != "" and _is_alive(record.pid))
        return Run(
            what=record.what,
            since=record.since,
            is_running=is_running,
            pid=record.pid if is_running and is_same else 0,
            group=record.pid,
            stdout=_text(self.stdout),
            stderr=_text(self.stderr),
        )

    @property
    def _record_file(self) -> Path:
        return self.path / "record.json"

    def _record(self) -> RunRecord | None:
        try:
            return msgspec.json.decode(self._record_file.read_bytes(), type=RunRecord)
        except FileNotFoundError:
            return None
        except ValueError:  # half a record, after a crash of the machine
            return RunRecord(what="a command", since="an unknown time")

    def _write(self, record: RunRecord) -> None:
        """Write the record atomically."""
        draft = self._record_file.with_suffix(".new")
        with _created(draft) as file:
            file.write(msgspec.json.encode(record))
        draft.replace(self._record_file)


def start_time(pid: int) -> str:
    """Return the start time of a process in the system's format; "" if it does not exist or is unknown."""
    if has_proc():
        return (_stat(pid) or [""] * (_START_TIME + 1))[_START_TIME]
    return _ps("-o", "lstart=", "-p", str(pid)).strip()


def members(group: int) -> Mapping[int, str]:
    """Return the command lines of a process group by process id; empty if unknown."""
    if has_proc():
        pids = (int(folder.name) for folder in _PROC.iterdir() if folder.name.isdigit())
        return {pid: _command(pid) for pid in pids if _stat(pid)[_GROUP : _GROUP + 1] == [str(group)]}
    rows = (line.split(maxsplit=2) for line in _ps("-A", "-ww", "-o", "pid=,pgid=,command=").splitlines())
    return {int(row[0]): row[2] for row in rows if row[1:2] == [str(group)] and len(row) > _GROUP}


def has_proc() -> bool:
    """Return whether /proc shows processes. In a chroot, or if hidden, it is an empty folder."""
    return (_PROC / "self" / "stat").exists()


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        return (
            (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
    except OSError:
        return ""


def _ps(*arguments: str) -> str:
    with suppress(OSError):
        argv = (shutil.which("ps") or "/bin/ps", *arguments)
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return ""


def _is_alive(pid: int) -> bool:
    if has_proc():
        return (_stat(pid) or ["X"])[0] not in _DEAD
    with suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


def _created(file: Path) -> IO[bytes]:
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "wb")


def _is_locked(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

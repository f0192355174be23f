"""A script that runs a program and whatever that starts, and ends all of it: `PARENT FD MOST PROGRAM ARGUMENTS…`.

A process may leave its group and its session, and outlive its parent: then it is handed to the nearest ancestor that takes orphans, which
is this one (PR_SET_CHILD_SUBREAPER, on Linux). So nothing of a task is lost: when the program ends, when this is told to end (SIGTERM), or when
PARENT dies, all that is left is killed. To FD the program's process id is written, and what keeps it from being executed. It ends with
the program's status, as a shell counts. MOST is how many processes and threads more than there are the user may have because of it; root
is not bound by that.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_FATAL = 128
_PROC = Path("/proc")
_IS_LINUX = sys.platform == "linux"


def main(parent: str, descriptor: str, most: str, program: str, *arguments: str) -> None:
    report = int(descriptor)
    os.set_inheritable(report, False)
    if _IS_LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != int(parent):  # it has died before it could be followed
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))  # until there is somebody to end
    pid = os.fork()
    if pid == 0:
        _become(report, int(most), (program, *arguments))
    signal.signal(signal.SIGTERM, lambda *_: _kill(pid))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.close(report)
    _let_go_of_output()
    _wait_for(pid)
    _end_all(but=pid)
    os._exit(_status(os.waitpid(pid, 0)[1]))


def _become(report: int, most: int, argv: tuple[str, ...]) -> None:
    """In the fork, which has one thread: the program is the first of a session of its own, with the signals of a container."""
    os.write(report, f"{os.getpid()}\n".encode())
    try:
        if _IS_LINUX:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        _limit(most)
        for number in signal.valid_signals():
            with contextlib.suppress(OSError, ValueError):  # SIGKILL and SIGSTOP stay as they are
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execv(argv[0], argv)  # noqa: S606
    except OSError as error:
        os.write(report, str(error.strerror).encode())
    os._exit(1)


def _limit(most: int) -> None:
    """The kernel counts what the user has, not what the task has: so many more, then."""
    if not _IS_LINUX or os.getuid() == 0:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    wanted = most + sum(_threads(place) for place in _own_processes())
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (wanted, wanted))


def _own_processes() -> Iterator[Path]:
    for place in _PROC.iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdigit() and place.stat().st_uid == os.getuid():
                yield place


def _threads(place: Path) -> int:
    try:
        return sum(1 for _ in (place / "task").iterdir())
    except OSError:
        return 0


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _let_go_of_output() -> None:
    """What reads the output waits for the program's end, not for ours."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _wait_for(pid: int) -> None:
    """Return when the program has ended. Its id stays taken until all else has ended, so that no other process gets it."""
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)) is not None:
        if ended.si_pid == pid:
            return
        os.waitpid(ended.si_pid, 0)  # an orphan


def _end_all(*, but: int) -> None:
    """Kill what is left below this process, and return when it is gone. All is stopped first: what runs could start more.

    What may not be killed, since it has become somebody else's, is left.
    """
    spared = {but}
    while left := _stopped(spared):
        killed = {pid for pid in left if _kill(pid)}
        spared |= left - killed
        for pid in killed:
            with contextlib.suppress(ChildProcessError):  # its parent has not ended yet
                os.waitpid(pid, 0)


def _stopped(spared: set[int]) -> set[int]:
    stopped: set[int] = set()
    while new := _below(os.getpid()) - spared - stopped:
        for pid in new:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= new
    return stopped


def _below(root: int) -> set[int]:
    """All descendants. Not every kernel lists a process's children; each process names its parent."""
    children: dict[int, list[int]] = {}
    for place in _PROC.iterdir() if _IS_LINUX else ():
        if place.name.isdigit() and (parent := _parent(place)) is not None:
            children.setdefault(parent, []).append(int(place.name))
    found: set[int] = set()
    waiting = [root]
    while waiting:
        waiting += (new := children.pop(waiting.pop(), []))
        found.update(new)
    return found


def _parent(place: Path) -> int | None:
    try:  # the name, in brackets, may hold anything
        return int((place / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def _kill(pid: int) -> bool:
    """Whether it is no more, or will be at once."""
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


def _status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _FATAL - code


if __name__ == "__main__":
    main(*sys.argv[1:])

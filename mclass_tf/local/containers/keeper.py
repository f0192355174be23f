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
from collections.abc import Callable, Iterator

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_FATAL = 128
_PROC = "/proc"
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
    _close_output()
    os._exit(_status(_ended(pid)))


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
    """Let the task have `most` more processes than the user has now: the kernel counts the user's, not the task's."""
    if not _IS_LINUX or os.getuid() == 0:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    limit = most + sum(map(_threads, _own_processes()))
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))


def _own_processes() -> Iterator[int]:
    for pid in _processes():
        with contextlib.suppress(OSError):
            if os.stat(f"{_PROC}/{pid}").st_uid == os.getuid():  # noqa: PTH116
                yield pid


def _processes() -> list[int]:
    """Return every process of this machine; none where it does not tell. (pathlib takes longer to import than all that this does.)"""
    try:
        return [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208
    except OSError:
        return []


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"{_PROC}/{pid}/task"))  # noqa: PTH208
    except OSError:
        return 0


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _close_output() -> None:
    """Close the output: its reader waits for the program's end, not for ours."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _ended(pid: int) -> int:
    """Return how the program has ended, when nothing is left of what it has started."""
    if not hasattr(os, "waitid"):  # macOS, where nobody takes orphans: its group is all that is known
        status = os.waitpid(pid, 0)[1]
        _kill_group(pid)
        return status
    _wait_for(pid)
    _kill_group(pid)
    _end_all(but=pid)
    status = os.waitpid(pid, 0)[1]
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
        _end_all(but=pid)  # there is one that was handed over meanwhile
    return status


def _wait_for(pid: int) -> None:
    """Return when the program has ended. Its id stays taken until all else has ended, so that no other process gets it."""
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)) is not None:
        if ended.si_pid == pid:
            return
        os.waitpid(ended.si_pid, 0)  # an orphan


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


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
    """Return all descendants."""
    children = _children if os.path.exists(f"{_PROC}/self/task/{root}/children") else _children_by_parent()  # noqa: PTH110
    descendants: set[int] = set()
    waiting = [root]
    while waiting:
        waiting += (new := [pid for pid in children(waiting.pop()) if pid not in descendants])
        descendants.update(new)
    return descendants


def _children(pid: int) -> list[int]:
    """Return the children that the kernel lists, at once; it may miss one that is being handed over."""
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"{_PROC}/{pid}/task"):  # noqa: PTH208
            with (
                contextlib.suppress(OSError),
                open(f"{_PROC}/{pid}/task/{thread}/children", encoding="ascii") as listed,  # noqa: PTH123
            ):
                pids += map(int, listed.read().split())
    return pids


def _children_by_parent() -> Callable[[int], list[int]]:
    """Return a function that lists children by the parent of each process, for kernels that list no children."""
    children: dict[int, list[int]] = {}
    for pid in _processes() if _IS_LINUX else ():
        if (parent := _parent(pid)) is not None:
            children.setdefault(parent, []).append(pid)
    return lambda pid: children.get(pid, [])


def _parent(pid: int) -> int | None:
    try:
        with open(f"{_PROC}/{pid}/stat", errors="replace", encoding="ascii") as stat:  # noqa: PTH123
            return int(stat.read().rpartition(")")[2].split()[1])  # the name, in brackets, may hold anything
    except (OSError, IndexError):
        return None


def _kill(pid: int) -> bool:
    """Kill a process; return whether it is gone, or will be at once."""
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

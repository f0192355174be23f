"""A script that runs a program and kills all of its descendants at its end: `PARENT FD MAX_PROCESSES PROGRAM ARGUMENTS…`.

A descendant can leave its process group and session, and outlive its parent. The kernel then reparents it to this process
(PR_SET_CHILD_SUBREAPER, Linux only). When the program ends, when this process gets SIGTERM, or when PARENT dies, this process kills
all remaining descendants. It writes the program's process id to FD, followed by the error if the program cannot be executed. It exits
with the program's status, as in a shell. The user may have MAX_PROCESSES more processes and threads than now; root has no limit.
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


def main(parent: str, descriptor: str, max_processes: str, program: str, *arguments: str) -> None:
    report = int(descriptor)
    os.set_inheritable(report, False)
    if _IS_LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != int(parent):  # it died before PR_SET_PDEATHSIG took effect
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))  # until there is a child to kill
    pid = os.fork()
    if pid == 0:
        _execute(report, int(max_processes), (program, *arguments))
    signal.signal(signal.SIGTERM, lambda *_: _kill(pid))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.close(report)
    _close_output()
    os._exit(_status(_wait_for_end(pid)))


def _execute(report: int, max_processes: int, argv: tuple[str, ...]) -> None:
    """Execute the program, in the single-threaded fork, as a session leader with default signal handling, as in a container."""
    os.write(report, f"{os.getpid()}\n".encode())
    try:
        if _IS_LINUX:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        _limit_processes(max_processes)
        for number in signal.valid_signals():
            with contextlib.suppress(OSError, ValueError):  # SIGKILL and SIGSTOP stay as they are
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execv(argv[0], argv)  # noqa: S606
    except OSError as error:
        os.write(report, str(error.strerror).encode())
    os._exit(1)


def _limit_processes(max_processes: int) -> None:
    """Allow `max_processes` more processes than the user has now: the kernel counts all processes of the user."""
    if not _IS_LINUX or os.getuid() == 0:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    limit = max_processes + sum(map(_threads, _own_processes()))
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))


def _own_processes() -> Iterator[int]:
    for pid in _processes():
        with contextlib.suppress(OSError):
            if os.stat(f"{_PROC}/{pid}").st_uid == os.getuid():  # noqa: PTH116
                yield pid


def _processes() -> list[int]:
    """Return every process id, or nothing without /proc. (os, because importing pathlib takes longer than this whole script.)"""
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
    """Close our copies of the output, so that its reader sees the end of file when the program ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _wait_for_end(pid: int) -> int:
    """Wait for the program, kill its remaining descendants, and return its wait status."""
    if not hasattr(os, "waitid"):  # macOS has no subreaper: only the process group is known
        status = os.waitpid(pid, 0)[1]
        _kill_group(pid)
        return status
    _wait_for(pid)
    _kill_group(pid)
    _kill_all(spared_pid=pid)
    status = os.waitpid(pid, 0)[1]
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
        _kill_all(spared_pid=pid)  # a process was reparented to us meanwhile
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


def _kill_all(*, spared_pid: int) -> None:
    """Kill all descendants except `spared_pid`, and wait for them. They are stopped first, so that none can fork meanwhile.

    A descendant that became another user's cannot be killed and is left.
    """
    spared = {spared_pid}
    while left := _stop_all(spared):
        killed = {pid for pid in left if _kill(pid)}
        spared |= left - killed
        for pid in killed:
            with contextlib.suppress(ChildProcessError):  # its parent still runs
                os.waitpid(pid, 0)


def _stop_all(spared: set[int]) -> set[int]:
    stopped: set[int] = set()
    while new := _descendants(os.getpid()) - spared - stopped:
        for pid in new:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= new
    return stopped


def _descendants(root: int) -> set[int]:
    children = _children if os.path.exists(f"{_PROC}/self/task/{root}/children") else _children_by_parent()  # noqa: PTH110
    descendants: set[int] = set()
    waiting = [root]
    while waiting:
        waiting += (new := [pid for pid in children(waiting.pop()) if pid not in descendants])
        descendants.update(new)
    return descendants


def _children(pid: int) -> list[int]:
    """Return the children that the kernel lists. Fast, but may miss a process that is being reparented."""
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
    """Return a function that finds children by each process's parent, for kernels without `children` files."""
    children: dict[int, list[int]] = {}
    for pid in _processes() if _IS_LINUX else ():
        if (parent := _parent(pid)) is not None:
            children.setdefault(parent, []).append(pid)
    return lambda pid: children.get(pid, [])


def _parent(pid: int) -> int | None:
    try:
        with open(f"{_PROC}/{pid}/stat", errors="replace", encoding="ascii") as stat:  # noqa: PTH123
            return int(
                stat.read().rpartition(")")[2].split()[1]
            )  # the name, in brackets, may contain anything
    except (OSError, IndexError):
        return None


def _kill(pid: int) -> bool:
    """Send SIGKILL; return False if that is not permitted."""
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

"""Measures the memory and CPU time of a process and its descendants."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from mclass_tf.local.containers.driver import Usage

_KERNEL_LISTS_CHILDREN = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists()
"""Whether the kernel lists a process's children. psutil has to look at every process, which is a hundred times slower."""


def measure(pid: int, *, is_supervised: bool = False) -> Usage:
    """Return what the process tree of `pid` uses now; zero if it has ended.

    If supervised, `pid` is the supervisor's, which does not count. Shared pages count once per process: the exact figure is
    expensive (`exact_memory`).
    """
    memory, cpu = 0, 0.0
    for process in _tree(pid, is_supervised=is_supervised):
        try:
            with process.oneshot():
                memory += process.memory_info().rss
                times = process.cpu_times()
        except psutil.Error:
            continue
        cpu += times.user + times.system + times.children_user + times.children_system
    return Usage(memory_bytes=memory, cpu_seconds=cpu)


def count_below(supervisor: int) -> int:
    """Return the number of processes below a supervisor."""
    return sum(1 for _ in _tree(supervisor, is_supervised=True))


def exact_memory(pid: int, *, is_supervised: bool = False) -> int:
    """Return the memory of the process tree in bytes. Shared pages count once."""
    memory = 0
    for process in _tree(pid, is_supervised=is_supervised):
        try:
            info = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        except psutil.Error:  # another user's process
            memory += _resident(process)
            continue
        memory += getattr(info, "pss", info.uss)
    return memory


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _tree(pid: int, *, is_supervised: bool = False) -> Iterator[psutil.Process]:
    return itertools.islice(_whole_tree(pid), 1 if is_supervised else 0, None)


def _whole_tree(pid: int) -> Iterator[psutil.Process]:
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            process = psutil.Process(current)
            yield process
            if not _KERNEL_LISTS_CHILDREN:
                yield from process.children(recursive=True)
                return
        except psutil.Error:
            continue
        waiting += _children(current)


def _children(pid: int) -> list[int]:
    pids: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # the thread has ended
                pids += map(int, (thread / "children").read_text(encoding="ascii").split())
    return pids

"""What a process and all that it has started use of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from mclass_tf.local.tasks.driver import Usage


def measure(pid: int) -> Usage:
    """Return what the tree of processes below `pid` uses now; nothing where it has ended.

    Pages that several of them share count as often, as nothing cheaper than `exact_memory` tells.
    """
    memory, cpu = 0, 0.0
    for process in _tree(pid):
        try:
            with process.oneshot():
                memory += process.memory_info().rss
                times = process.cpu_times()
        except psutil.Error:
            continue
        cpu += times.user + times.system + times.children_user + times.children_system
    return Usage(memory_bytes=memory, cpu_seconds=cpu)


def exact_memory(pid: int) -> int:
    """Return the memory of the tree in bytes, what is shared counted once."""
    memory = 0
    for process in _tree(pid):
        try:
            found = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        except psutil.Error:  # it is somebody else's
            memory += _resident(process)
            continue
        memory += getattr(found, "pss", found.uss)
    return memory


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _tree(pid: int) -> Iterator[psutil.Process]:
    try:
        leader = psutil.Process(pid)
        yield leader
        yield from leader.children(recursive=True)
    except psutil.Error:
        return

"""What a process and all that it has started use of this machine."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from mclass_tf.local.containers.driver import Usage

_KERNEL_TELLS = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists()
"""Whether the kernel tells a process's children; psutil looks at every process for them, which takes a hundred times as long."""


def measure(pid: int, *, is_kept: bool = False) -> Usage:
    """Return what the tree of processes from `pid` on uses now; nothing where it has ended.

    Where it is kept, `pid` is that of its keeper, which does not count (`keeper`).

    Pages that several of them share count as often, as nothing cheaper than `exact_memory` tells.
    """
    memory, cpu = 0, 0.0
    for process in _tree(pid, is_kept=is_kept):
        try:
            with process.oneshot():
                memory += process.memory_info().rss
                times = process.cpu_times()
        except psutil.Error:
            continue
        cpu += times.user + times.system + times.children_user + times.children_system
    return Usage(memory_bytes=memory, cpu_seconds=cpu)


def count_below(keeper: int) -> int:
    """Return how many processes a keeper has below it."""
    return sum(1 for _ in _tree(keeper, is_kept=True))


def exact_memory(pid: int, *, is_kept: bool = False) -> int:
    """Return the memory of the tree in bytes, what is shared counted once."""
    memory = 0
    for process in _tree(pid, is_kept=is_kept):
        try:
            info = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        except psutil.Error:  # it is somebody else's
            memory += _resident(process)
            continue
        memory += getattr(info, "pss", info.uss)
    return memory


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _tree(pid: int, *, is_kept: bool = False) -> Iterator[psutil.Process]:
    return itertools.islice(_whole_tree(pid), 1 if is_kept else 0, None)


def _whole_tree(pid: int) -> Iterator[psutil.Process]:
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            process = psutil.Process(current)
            yield process
            if not _KERNEL_TELLS:
                yield from process.children(recursive=True)
                return
        except psutil.Error:
            continue
        waiting += _children(current)


def _children(pid: int) -> list[int]:
    pids: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # this thread of it has ended
                pids += map(int, (thread / "children").read_text(encoding="ascii").split())
    return pids

"""Reserves a few descriptors of this process, so that a server can answer when all others are in use."""

from __future__ import annotations

import contextlib
import os
import threading


class DescriptorReserve:
    """Holds `count` descriptors until it is closed. Thread-safe."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._kept: list[int] = []
        self.fill()

    @property
    def is_complete(self) -> bool:
        return len(self._kept) >= self._count

    def fill(self) -> None:
        """Acquire the missing descriptors, as far as available."""
        with self._lock, contextlib.suppress(OSError):
            while not self.is_complete:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def release(self) -> bool:
        """Release one; return whether the reserve had one."""
        with self._lock:
            if self._kept:
                os.close(self._kept.pop())
                return True
        return False

    def close(self) -> None:
        """Release all, and refuse to acquire more."""
        self._count = 0
        while self.release():
            pass

"""Keeps a few descriptors of this process at hand: a server can then still answer when there are no others."""

from __future__ import annotations

import contextlib
import os
import threading


class DescriptorReserve:
    """So many descriptors, until it is closed. May be used from any thread."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._kept: list[int] = []
        self.fill()

    @property
    def is_complete(self) -> bool:
        return len(self._kept) >= self._count

    def fill(self) -> None:
        """Take what is missing, as far as there is any."""
        with self._lock, contextlib.suppress(OSError):
            while not self.is_complete:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def release(self) -> bool:
        """Set one free; return whether there was any."""
        with self._lock:
            if self._kept:
                os.close(self._kept.pop())
                return True
        return False

    def close(self) -> None:
        """Set all free, and take no others."""
        self._count = 0
        while self.release():
            pass

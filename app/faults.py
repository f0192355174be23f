"""Deliberate faults for rehearsals, only if environment variables enable them."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import NoReturn

from app.settings import Settings

CRASHED = 1
KILLED_BY_SIGTERM = 143  # 128 + 15, as ECS shows a container that a signal ended
_MIB = 1 << 20
_LEAKS_A_SECOND = 10
_log = logging.getLogger("app.faults")


class Errors:
    """Decides which requests fail: a share of `rate`, evenly spread, the same in every run."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._owed = 0.0

    def next(self) -> bool:
        self._owed += self._rate
        if self._owed < 1:
            return False
        self._owed -= 1
        return True


def announce(settings: Settings) -> None:
    """Log a warning if faults are on."""
    if settings.asked_faults:
        _log.warning(
            "FAULTS ARE ON: this service fails on purpose",
            extra={"fields": {"faults": list(settings.asked_faults)}},
        )


def crash() -> NoReturn:
    """Crash: end at once, without a shutdown."""
    _log.critical("crashing on purpose")
    end(CRASHED)


def end(status: int) -> NoReturn:
    """End the process at once, after flushing the log."""
    sys.stdout.flush()
    os._exit(status)


async def crash_after(seconds: float) -> None:
    """Crash after some seconds."""
    await asyncio.sleep(seconds)
    crash()


async def leak(mib_per_second: float) -> None:
    """Leak memory until the process is killed."""
    kept: list[bytes] = []
    while True:
        # Not zeros, because the kernel allocates memory when it is written.
        kept.append(b"\x01" * int(mib_per_second * _MIB / _LEAKS_A_SECOND))
        await asyncio.sleep(1 / _LEAKS_A_SECOND)

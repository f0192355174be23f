"""Runs work in a thread, and waits for the thread even when cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def in_thread(work: Callable[..., _T], /, *arguments: object, **keywords: object) -> _T:
    """Return the result of `work`. When cancelled, wait for `work` to end, because a thread cannot be stopped.

    `asyncio.to_thread` would return at once, and the caller would clean up while the thread still writes.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **keywords))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise

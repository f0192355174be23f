"""Work in a thread that nobody leaves to itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def in_thread(work: Callable[..., _T], /, *arguments: object, **keywords: object) -> _T:
    """Return what `work` returns. Where this is cancelled, it ends when the work does: a thread cannot be stopped.

    `asyncio.to_thread` would end at once, and whoever tidies up then would do it while the thread still writes.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **keywords))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise

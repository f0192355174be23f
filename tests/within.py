"""How tests wait for something that may never come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_Result = TypeVar("_Result")


async def within(awaitable: Awaitable[_Result], seconds: float) -> _Result:
    """Return what comes of it; raise TimeoutError where that takes longer.

    `asyncio.wait_for` does so too, and loses a cancellation in Python 3.11.
    """
    async with asyncio.timeout(seconds):
        return await awaitable

"""Waits with a timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_Result = TypeVar("_Result")


async def within(awaitable: Awaitable[_Result], seconds: float) -> _Result:
    """Return the result of an awaitable; raise TimeoutError after `seconds`.

    `asyncio.wait_for` does the same, but loses a cancellation in Python 3.11.
    """
    async with asyncio.timeout(seconds):
        return await awaitable

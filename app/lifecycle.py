"""Where the service stands between start and end, and how many requests are in flight."""

from __future__ import annotations

import asyncio
import enum
import time


class Phase(enum.Enum):
    """What the service does at the moment."""

    SERVING = "serving"
    LAME_DUCK = "lame duck"  # SIGTERM has come; whoever has not heard of it is still served
    DRAINING = "draining"  # what is in flight is finished; whoever comes all the same is served too


class Lifecycle:
    """The state that the endpoints, the middleware and the shutdown share. One event loop; no locks."""

    def __init__(self) -> None:
        self.phase = Phase.SERVING
        # Responses say `Connection: close`, so that clients with a pool of connections move to another task.
        self.closing = False
        self.in_flight = 0
        self.started = time.monotonic()
        self._idle = asyncio.Event()
        self._idle.set()

    def entered(self) -> None:
        self.in_flight += 1
        self._idle.clear()

    def left(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def idle(self) -> None:
        """Return as soon as nothing is in flight."""
        await self._idle.wait()

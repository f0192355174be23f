"""The lifecycle phase of the service, and its requests in flight."""

from __future__ import annotations

import asyncio
import enum
import time


class Phase(enum.Enum):
    """A phase of the service's lifecycle."""

    SERVING = "serving"
    LAME_DUCK = "lame duck"  # after SIGTERM; new connections are still accepted
    DRAINING = "draining"  # waits for requests in flight; still serves new ones


class Lifecycle:
    """State shared by endpoints, middleware and shutdown. Used in one event loop, so without locks."""

    def __init__(self) -> None:
        self.phase = Phase.SERVING
        # Responses contain `Connection: close`, so that clients with connection pools move to another task.
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
        """Return when no request is in flight."""
        await self._idle.wait()

"""The clock of the control plane, whose timers can run faster than AWS's."""

from __future__ import annotations

SLOWEST, FASTEST = 1.0, 1000.0


class Clock:
    """With `speed` 10, ten seconds on AWS take one second here.

    It scales the waits of the control plane: health check intervals, grace periods, deregistration delays, bake times, metric
    periods, cooldowns. It does not scale what clients and processes observe: the load balancer's idle timeout, the duration of
    requests, stopTimeout.
    """

    def __init__(self, speed: float = SLOWEST) -> None:
        self.speed = speed

    def real(self, seconds: float) -> float:
        """Return how long `seconds` on AWS take here."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of AWS time."""
        import asyncio  # noqa: PLC0415  every command imports the limits above, but none sleeps

        await asyncio.sleep(self.real(seconds))

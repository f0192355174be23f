"""The clock of the control plane: its timers may run faster than AWS's."""

from __future__ import annotations

SLOWEST, FASTEST = 1.0, 1000.0


class Clock:
    """`speed` 10: what AWS does in ten seconds is done here in one.

    It scales what the control plane waits for: health check intervals, grace periods, deregistration delays, bake times,
    metric periods, cooldowns. It does not touch what a client or a process feels: the load balancer's idle timeout,
    the duration of requests, stopTimeout.
    """

    def __init__(self, speed: float = SLOWEST) -> None:
        self.speed = speed

    def real(self, seconds: float) -> float:
        """Return how long `seconds` of AWS's last here."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of AWS's."""
        import asyncio  # noqa: PLC0415  every command reads the limits above, and none of them waits here

        await asyncio.sleep(self.real(seconds))

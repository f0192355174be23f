"""How the new version is compared with the old one while both, or it alone, have production traffic."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ERROR_PERCENT = (0.0, 100.0)
MAX_LATENCY_RATIO = (1.0, 1000.0)
LATENCY_FLOOR_SECONDS = (0.0, 3600.0)
MIN_REQUESTS = (1, 1_000_000_000)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the new version may be worse by before it is rolled back.

    `max_error_percent`: by so many percentage points more of its answers may be 5xx than of the old version's.
    `max_latency_ratio`: its 99th percentile may be so many times the old version's; one below `latency_floor_seconds` is
    never too slow. With fewer than `min_requests` answered the comparison is inconclusive.
    """

    is_on: bool = True
    max_error_percent: float = 1.0
    max_latency_ratio: float = 2.0
    latency_floor_seconds: float = 0.5
    min_requests: int = 100

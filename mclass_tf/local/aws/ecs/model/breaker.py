"""The deployment circuit breaker and the service throttle logic.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LEAST, _MOST = 3, 200
_WHOLE = 100


def threshold(configuration: Mapping[str, Any], *, desired: int) -> int:
    """Return how many failed tasks fail a deployment. `configuration` is a deploymentCircuitBreaker."""
    chosen = configuration.get("thresholdConfiguration") or {}
    kind, value = chosen.get("type", "BOUNDED_PERCENT"), int(chosen.get("value", 50))
    if kind == "COUNT":
        return value
    share = -(-desired * value // _WHOLE)
    return share if kind == "UNBOUNDED_PERCENT" else min(max(share, _LEAST), _MOST)


def resets(configuration: Mapping[str, Any]) -> bool:
    """Return whether a task that becomes healthy resets the failure count."""
    return configuration.get("resetOnHealthyTask") is not False


_THROTTLED_AFTER = 2  # consecutive launch failures; fewer delay nothing
_FIRST_DELAY, _LONGEST_DELAY = 30.0, 1620.0  # AWS's seconds; the longest is documented, the first is not


def launch_delay(failures: int) -> float:
    """Return the delay of the next launch, in AWS's seconds, after this many consecutive tasks that never were RUNNING.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html
    """
    if failures < _THROTTLED_AFTER:
        return 0.0
    return float(min(_FIRST_DELAY * 2 ** (failures - _THROTTLED_AFTER), _LONGEST_DELAY))

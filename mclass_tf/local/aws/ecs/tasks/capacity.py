"""Chooses the capacity provider of a task.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-capacity-providers.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any


def choose_provider(strategy: Iterable[Mapping[str, Any]], *, others: Iterable[str | None]) -> str | None:
    """Return the provider of the next task: bases first, then the provider furthest below its weight.

    `others` are the providers of the running tasks. Return None if no strategy decides (then a launch type does).
    """
    entries = list(strategy)
    count = Counter(others)
    for entry in entries:
        if count[entry["capacityProvider"]] < (entry.get("base") or 0):
            return str(entry["capacityProvider"])
    weighted = [entry for entry in entries if entry.get("weight")]
    if not weighted:
        return None

    def load(entry: Mapping[str, Any]) -> float:
        beyond_base = count[entry["capacityProvider"]] - (entry.get("base") or 0)
        return float((beyond_base + 1) / entry["weight"])

    return str(min(weighted, key=load)["capacityProvider"])

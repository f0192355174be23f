"""The load of a rehearsal: decided by the rehearsal, read by the load process."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_RATE = 2000.0
"""Requests a second above which one Python process measures itself rather than the service."""


@dataclass(frozen=True, kw_only=True)
class LoadEndpoint:
    """The target of the requests: the `host` and `port` to connect to, the names to send, and PEM `certificates` to trust."""

    scheme: str
    host: str
    port: int
    host_header: str
    server_name: str = ""
    certificates: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class BurstProbe:
    """Bursts over many kept-alive connections that are idle in between. `intervals` are the seconds between bursts, in turn.

    A service with an idle timeout of about an interval closes some connections under the next burst.
    """

    connections: int = 24
    intervals: tuple[float, ...] = (4.99, 5.0, 5.005, 5.01, 5.02)


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """A constant, open load. Shares are of all steady requests, from 0 to 1. Durations are in seconds unless named otherwise.

    `connections` is the number of kept-alive connections shared by all requests that do not open a new one. `long_ms` is how
    long the service must hold a long request open. `timeout` counts from the start of a request.
    """

    where: LoadEndpoint
    rate: float = 200.0
    paths: tuple[str, ...] = ("/version", "/")
    new_connection_share: float = 0.2
    connections: int = 16
    long_share: float = 0.02
    long_ms: int = 2000
    long_path: str = "/work"
    timeout: float = 15.0
    probe: BurstProbe | None = dataclasses.field(default_factory=BurstProbe)
    seed: int = 1

    def problems(self) -> list[str]:
        """Return what is wrong with the plan, one sentence each."""
        problems = []
        if not (math.isfinite(self.rate) and 0 < self.rate <= MAX_RATE):
            problems.append(
                f"the rate is {self.rate:g}; it must be above 0 and at most {MAX_RATE:g} a second"
            )
        for name in ("new_connection_share", "long_share"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                problems.append(f"{name} is {share:g}; it must be from 0 to 1")
        if self.long_share and self.long_ms / 1000 >= self.timeout:
            problems.append(f"long requests of {self.long_ms} ms are not over within {self.timeout:g} s")
        return problems

    def to_json(self) -> str:
        """Return the plan as one line."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> LoadPlan:
        document: dict[str, Any] = json.loads(text)
        where = _tuples(document.pop("where"))
        probe = document.pop("probe")
        return cls(
            where=LoadEndpoint(**where),
            probe=None if probe is None else BurstProbe(**_tuples(probe)),
            **_tuples(document),
        )


def _tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}

"""What load is to be sent: decided by the rehearsal, read by the process that sends it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FASTEST = 2000.0
"""Requests a second above which one process of Python measures itself rather than the service."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where requests go: `host` and `port` to connect to, and what to say there. `certificates` are PEM texts that are trusted."""

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
class Probe:
    """Bursts over many kept-alive connections, which are idle in between: `intervals` are the seconds between bursts, in turn.

    A service that closes idle connections after about as many seconds closes some of them under the next burst.
    """

    connections: int = 24
    intervals: tuple[float, ...] = (4.99, 5.0, 5.005, 5.01, 5.02)


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """Constant load, open loop. Shares are of all steady requests, from 0 to 1; durations in seconds unless named otherwise.

    `connections` is how many kept-alive connections the requests that open no new one take turns over; `long_ms` how long the
    service is asked to hold a long request open. `timeout` is counted from the moment a request is begun.
    """

    where: Where
    rate: float = 200.0
    paths: tuple[str, ...] = ("/version", "/")
    new_connection_share: float = 0.2
    connections: int = 16
    long_share: float = 0.02
    long_ms: int = 2000
    long_path: str = "/work"
    timeout: float = 15.0
    probe: Probe | None = dataclasses.field(default_factory=Probe)
    seed: int = 1

    def problems(self) -> list[str]:
        """Return what is wrong with it, each a sentence."""
        problems = []
        if not (math.isfinite(self.rate) and 0 < self.rate <= FASTEST):
            problems.append(f"the rate is {self.rate:g}; it must be above 0 and at most {FASTEST:g} a second")
        for name in ("new_connection_share", "long_share"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                problems.append(f"{name} is {share:g}; it must be from 0 to 1")
        if self.long_share and self.long_ms / 1000 >= self.timeout:
            problems.append(f"long requests of {self.long_ms} ms are not over within {self.timeout:g} s")
        return problems

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> LoadPlan:
        document: dict[str, Any] = json.loads(text)
        where = _tuples(document.pop("where"))
        probe = document.pop("probe")
        return cls(
            where=Where(**where),
            probe=None if probe is None else Probe(**_tuples(probe)),
            **_tuples(document),
        )


def _tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}

"""How often a rollout is looked at.

AWS throttles each account and region: a rollout may take a day, several may run at once, and the console and other tools share the
limits. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """Times in seconds. `look` and `bake` are the shortest and longest pause between two looks, `bake` while traffic stays as it is.

    `detail` is the age at which tasks and targets are read again although the service deployment has not changed, `bake_detail`
    that during a bake.
    """

    look: tuple[float, float] = (0.5, 0.5)
    bake: tuple[float, float] = (0.5, 0.5)
    detail: float = 0.0
    bake_detail: float = 0.0
    draw: Callable[[float, float], float] = random.uniform

    def pause(self, *, bakes: bool) -> float:
        """Return the pause before the next look. It varies, so that rollouts begun together do not ask together."""
        return self.draw(*(self.bake if bakes else self.look))

    def age(self, *, bakes: bool) -> float:
        return self.bake_detail if bakes else self.detail


LOCAL = Cadence()  # its clock may be scaled, and nobody else uses it
ON_AWS = Cadence(look=(2.0, 5.0), bake=(5.0, 10.0), detail=10.0, bake_detail=30.0)

"""What the calls of AWS and what lives between them share: the clock, the network, and who is told of changes.

moto makes its backends by itself, one for each account and region, so that nothing can be handed to them: they find it here.
"""

from __future__ import annotations

from collections.abc import Callable

from mclass_tf.local.clock import Clock
from mclass_tf.local.network import Interfaces


class Live:
    """`changed(topic)` may be called from any thread; listeners must return at once and take no lock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.interfaces = Interfaces()
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    def changed(self, topic: str) -> None:
        """Say that state of `topic` ("ecs", "elbv2", "targets", "autoscaling", "alarms", …) has changed."""
        for listener in self._listeners:
            listener(topic)


live = Live()

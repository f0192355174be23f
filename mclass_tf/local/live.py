"""What the calls of AWS and what lives between them share: the clock, the network, the traffic, and who is told of changes.

moto makes its backends by itself, one for each account and region, so that nothing can be handed to them: they find it here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mclass_tf.local.clock import Clock
from mclass_tf.local.network import Interfaces
from mclass_tf.local.traffic import Traffic

_PROBLEMS_KEPT = 100


class Live:
    """`changed(topic)` may be called from any thread; listeners must return at once and take no lock.

    `problems` are those that a part has overcome and yet must be told, such as a child process that had to be started again.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.interfaces = Interfaces()
        self.traffic = Traffic()
        self.problems: deque[str] = deque(maxlen=_PROBLEMS_KEPT)
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Have `listener` called with the topic of every change; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def changed(self, topic: str) -> None:
        """Announce that state of `topic` ("ecs", "elbv2", "targets", "autoscaling", "alarms", …) has changed."""
        for listener in tuple(self._listeners):
            listener(topic)


live = Live()

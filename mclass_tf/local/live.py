"""State shared by AWS calls and background parts: the clock, the network, the traffic, and listeners for changes.

It is global, because moto creates its backends itself, one per account and region, and nothing can be passed to them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mclass_tf.local.clock import Clock
from mclass_tf.local.network import Interfaces
from mclass_tf.local.traffic import Traffic

_PROBLEMS_KEPT = 100
CLIENT_ADDRESS = "203.0.113.25"  # a public address that belongs to nobody: TEST-NET-3 of RFC 5737


class Live:
    """`changed(topic)` may be called from any thread. Listeners must return at once and take no lock.

    `client_address` is the address in AWS of every client of a load balancer that is no task. `problems` are those that a part recovered from but must report, such as a restarted child process.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.client_address = CLIENT_ADDRESS
        self.interfaces = Interfaces()
        self.traffic = Traffic()
        self.problems: deque[str] = deque(maxlen=_PROBLEMS_KEPT)
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with the topic of every change; return a function that unsubscribes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def changed(self, topic: str) -> None:
        """Announce that the state of `topic` ("ecs", "elbv2", "targets", "autoscaling", "alarms", …) has changed."""
        for listener in tuple(self._listeners):
            listener(topic)


live = Live()

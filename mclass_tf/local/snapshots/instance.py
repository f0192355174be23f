"""Saves this local AWS into its home folder, and starts it from what was saved. Used in the process of the server alone."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from mclass_tf.local.aws import snapshot
from mclass_tf.local.aws.dispatch import Aws
from mclass_tf.local.aws.ecs.scheduler import all_services
from mclass_tf.local.aws.ecs.service import Service
from mclass_tf.local.aws.ecs.task import EveryTask, Task
from mclass_tf.local.live import live
from mclass_tf.local.registry.store import Store
from mclass_tf.local.snapshots import file, rest, state

_START_SECONDS = 20.0
_LOOK_EVERY = 0.02


class Tasks(Protocol):
    def flush_logs(self) -> None: ...

    def every(self) -> EveryTask: ...


@dataclass(frozen=True, kw_only=True)
class Saved:
    """`state` is a file of the home folder; nothing is written while anything is `under_way`. `speed` is the clock's."""

    state: str = ""
    speed: float = 1.0
    under_way: list[str] = field(default_factory=list)


class Instance:
    """`tasks` and `write_access_logs` are there once the parts have been made; `stopped` is for the first to begin with."""

    def __init__(self, *, aws: Aws, home: Path, store: Store) -> None:
        self._aws = aws
        self._home = home
        self._store = store
        self.tasks: Tasks | None = None
        self.write_access_logs: Callable[[], None] = lambda: None
        self.stopped: list[Task] = []

    def save(self) -> Saved:
        """Write the state, which the owner of the home folder may sign: what comes over the port could be anybody's."""
        if self.tasks is not None:
            self.tasks.flush_logs()
        with self._aws.exclusive():
            every = EveryTask(stopped=[], started=[]) if self.tasks is None else self.tasks.every()
            under_way = rest.under_way(every.started)
            if under_way:
                return Saved(under_way=under_way)
            self.write_access_logs()
            data = state.dump(every)
        path = self._home / f"{uuid.uuid4().hex}.state"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
            written.write(data)
        return Saved(state=path.name, speed=live.clock.speed)

    def restore(self, archive: IO[bytes]) -> None:
        """Take the place of what was saved. Call it before anything runs."""
        data = file.unpack(archive, blobs=self._store.blobs)
        with self._aws.exclusive():
            self.stopped = state.load(data).stopped

    def await_started(self) -> None:
        """Return when the load balancers listen and the services have as many running tasks as they want.

        A task that cannot start is no reason not to come up: `status` and `doctor` tell of it.
        """
        changed = threading.Event()
        unlisten = live.listen(lambda _topic: changed.set())
        deadline = time.monotonic() + _START_SECONDS
        try:
            while not self._has_started() and (left := deadline - time.monotonic()) > 0:
                changed.wait(min(left, _LOOK_EVERY))  # a load balancer's report changes nothing
                changed.clear()
        finally:
            unlisten()

    def _has_started(self) -> bool:
        with self._aws.exclusive():
            listening = live.traffic.listening
            return all(
                arn in listening
                for owned in snapshot.load_balancers()
                for arn in owned.load_balancer.listeners
            ) and all(
                self._running(service) >= service.desired_count
                for service in all_services()
                if service.status == "ACTIVE"
            )

    def _running(self, service: Service) -> int:
        tasks = () if self.tasks is None else self.tasks.every().started
        return sum(1 for task in tasks if service.owns(task) and task.last_status == "RUNNING")

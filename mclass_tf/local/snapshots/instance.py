"""Saves the state of this local AWS into its home folder, and restores it. Used only in the server process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from mclass_tf.local.aws.api.dispatch import AwsApi
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.task import EveryTask, Task
from mclass_tf.local.aws.ecs.scheduler.scheduler import all_services
from mclass_tf.local.aws.elbv2 import snapshot, targets
from mclass_tf.local.live import live
from mclass_tf.local.registry.store import BlobStore
from mclass_tf.local.snapshots import file, rest, state

_log = logging.getLogger("mclass_tf.local")

_START_SECONDS = 10.0
_LOOK_EVERY = 0.02
_END_SECONDS = 30.0
_ABANDONED_SECONDS = 3600.0


class TaskSource(Protocol):
    def flush_logs(self) -> None: ...

    def every(self) -> EveryTask: ...

    def stop(self, task: Task, *, code: str, reason: str, drain: bool) -> None: ...

    def forget_stopped(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class SaveResult:
    """`state` is the name of a file in the home folder; it is not written while anything is `under_way`.

    `speed` is the clock's. `versions` are those of the running server: its sources may have changed since it started.
    """

    state: str = ""
    speed: float = 1.0
    versions: Mapping[str, str] = field(default_factory=dict)
    under_way: list[str] = field(default_factory=list)


class Instance:
    """`tasks` and `write_access_logs` are set once the parts exist. `stopped` are the restored stopped tasks, for `tasks`."""

    def __init__(self, *, aws: AwsApi, home: Path, store: BlobStore) -> None:
        self._aws = aws
        self._home = home
        self._store = store
        self.tasks: TaskSource | None = None
        self.write_access_logs: Callable[[], None] = lambda: None
        self.stopped: list[Task] = []
        self._is_restored = False
        self._versions = file.versions()

    def save(self) -> SaveResult:
        """Write the state to a file for its owner to sign. The server does not sign: a call over the port could be anybody's."""
        self._forget_abandoned()
        if self.tasks is not None:
            self.tasks.flush_logs()
        with self._aws.exclusive():
            every = self._every_task()
            under_way = rest.under_way(every.started)
            if under_way:
                return SaveResult(under_way=under_way)
            self.write_access_logs()
            data = state.dump(every)
        path = self._home / f"{uuid.uuid4().hex}.state"
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
                written.write(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return SaveResult(state=path.name, speed=live.clock.speed, versions=self._versions)

    def restore(self, archive: IO[bytes]) -> None:
        """Restore a saved state. Call it before anything runs."""
        data = file.unpack(archive, blobs=self._store.blobs)
        with self._aws.exclusive():
            self.stopped = state.load(data).stopped
        self._is_restored = True

    def reset(self) -> None:
        """Delete everything, for suites of tests that expect an empty AWS. Raise OSError if tasks do not end."""
        with self._aws.exclusive():
            state.forget_services()
            if self.tasks is not None:
                for task in self.tasks.every().started:
                    self.tasks.stop(task, code="UserInitiated", reason="Reset", drain=False)
        deadline = time.monotonic() + _END_SECONDS
        while self._every_task().started:
            if time.monotonic() > deadline:
                raise TimeoutError("the tasks of the local AWS have not ended")
            time.sleep(_LOOK_EVERY)
        with self._aws.exclusive():
            if self.tasks is not None:
                self.tasks.forget_stopped()
            state.clear()

    async def await_tasks(self) -> None:
        """Wait until the services' restarted tasks accept connections, so that they pass their first health check.

        At AWS's speed the second one follows half a minute later. Return immediately in an instance that was not restored, and
        after a timeout: a task that cannot start must not prevent the start of the local AWS.
        """
        if not self._is_restored:
            return
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def notice(_topic: str) -> None:
            loop.call_soon_threadsafe(changed.set)

        unlisten = live.listen(notice)
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not self._all_run():
                    await changed.wait()
                    changed.clear()
                await asyncio.gather(*(_await_connection(*address) for address in self._addresses()))
        except TimeoutError:
            _log.warning(
                "not every task of the snapshot runs and accepts connections after %g s", _START_SECONDS
            )
        finally:
            unlisten()

    def await_load_balancers(self) -> None:
        """Wait until the load balancers listen and know the health of their targets, or until a timeout."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_served() and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)

    def _forget_abandoned(self) -> None:
        """Remove states that never became snapshots, because the command was killed."""
        for path in self._home.glob("*.state"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()

    def _every_task(self) -> EveryTask:
        return EveryTask(stopped=[], started=[]) if self.tasks is None else self.tasks.every()

    def _all_run(self) -> bool:
        with self._aws.exclusive():
            services = [service for service in all_services() if service.status == "ACTIVE"]
            return all(len(self._running(service)) >= service.desired_count for service in services)

    def _running(self, service: Service) -> list[Task]:
        return [
            task
            for task in self._every_task().started
            if service.owns(task) and task.last_status == "RUNNING"
        ]

    def _addresses(self) -> list[tuple[str, int]]:
        """Return the addresses of the tasks that are registered as targets."""
        with self._aws.exclusive():
            return [
                task.interface.ports[registration.container_port]
                for task in self._every_task().started
                for registration in task.launch.registrations
                if task.interface is not None and registration.container_port in task.interface.ports
            ]

    def _is_served(self) -> bool:
        with self._aws.exclusive():
            listening = live.traffic.listening
            return all(
                listener in listening
                for owned in snapshot.load_balancers()
                for listener in owned.load_balancer.listeners
            ) and not any(
                target.state == targets.REGISTERING[0]
                for owned in snapshot.load_balancers()
                for group in owned.backend.target_groups
                for target in owned.backend.target_health(group)
            )


async def _await_connection(host: str, port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return
        await asyncio.sleep(_LOOK_EVERY)

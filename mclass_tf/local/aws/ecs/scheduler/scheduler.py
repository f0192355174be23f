"""The service scheduler: reconciles every service on changes and when something is due."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from moto.ecs.models import ecs_backends

from mclass_tf.local.aws.ecs.model.runner import TaskRunner, runner_holder
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.scheduler.reconcile import reconcile
from mclass_tf.local.live import live

_log = logging.getLogger("mclass_tf.local")

_TOPICS = frozenset({"alarms", "ecs", "elbv2", "targets"})
_RETRY_SECONDS = 5.0  # real seconds until the next attempt after an error


def all_services() -> Iterator[Service]:
    """Yield the services of every account and region."""
    for account in list(ecs_backends.values()):
        for backend in list(account.values()):
            yield from list(backend.services.values())


class Scheduler:
    """A background part of the local AWS. `exclusive` is the lock of the API calls; `runner` starts and stops tasks.

    `services` lists the services. `reconcile_service` returns when the next pass over the service is due.
    """

    def __init__(
        self,
        *,
        exclusive: Callable[[], AbstractContextManager[None]],
        runner: TaskRunner,
        services: Callable[[], Iterable[Service]] = all_services,
        reconcile_service: Callable[[Service], float | None] = reconcile,
    ) -> None:
        self._exclusive = exclusive
        self._runner = runner
        self._services = services
        self._reconcile_service = reconcile_service
        self._due = asyncio.Event()
        self._broken: set[str] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()

        def notice(topic: str) -> None:
            if topic in _TOPICS:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._due.set)

        unlisten = live.listen(notice)
        runner_holder.runner = self._runner
        try:
            await self._reconcile_on_changes()
        finally:
            runner_holder.runner = None
            unlisten()

    async def _reconcile_on_changes(self) -> None:
        while True:
            self._due.clear()
            wake = self._reconcile_all()
            delay = None if wake is None else max(0.0, wake - time.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._due.wait()

    def _reconcile_all(self) -> float | None:
        with self._exclusive():
            wakes = [self._reconcile_one(service) for service in self._services()]
        return min((wake for wake in wakes if wake is not None), default=None)

    def _reconcile_one(self, service: Service) -> float | None:
        """An error in one service does not stop the others, and is reported once."""
        try:
            wake = self._reconcile_service(service)
        except Exception as error:  # noqa: BLE001  reported in the log and in health
            if service.arn not in self._broken:
                self._broken.add(service.arn)
                _log.exception("service %s cannot be reconciled", service.arn)
                live.problems.append(f"service {service.arn}: {type(error).__name__}: {error}")
            return time.time() + _RETRY_SECONDS
        self._broken.discard(service.arn)
        return wake

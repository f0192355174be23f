"""Starts, stops and finds the tasks of the local AWS."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

from mclass_tf.local.aws.ecs.model import images
from mclass_tf.local.aws.ecs.model.task import Container, EveryTask, Launch, Task
from mclass_tf.local.aws.ecs.model.task_logs import TaskLogs
from mclass_tf.local.aws.ecs.tasks import capacity
from mclass_tf.local.aws.ecs.tasks.lifecycle import TaskLifecycle
from mclass_tf.local.aws.ecs.tasks.startup import TaskRuntime
from mclass_tf.local.containers.driver import Driver, Usage
from mclass_tf.local.live import Live, live

_SEEN_AFTER_STOP = 3600.0  # AWS's seconds: API_DescribeTasks.html
_STOPPED_KEPT = 500


class TaskManager:
    """Create it in the thread of the event loop, where `run` runs in the background.

    Call methods that take or return tasks under the lock. `stopped` are tasks of an earlier instance that are still described.
    """

    def __init__(
        self,
        *,
        exclusive: Callable[[], AbstractContextManager[None]],
        driver: Driver,
        blobs: images.Blobs,
        url: str,
        state: Live = live,
        stopped: Iterable[Task] = (),
    ) -> None:
        self._runtime = TaskRuntime(
            exclusive=exclusive,
            driver=driver,
            blobs=blobs,
            logs=TaskLogs(exclusive=exclusive),
            live=state,
            url=url,
        )
        self._loop = asyncio.get_running_loop()
        self._lifecycles: dict[str, TaskLifecycle] = {}
        self._stopped: dict[str, Task] = {task.id: task for task in stopped}
        self._tokens: dict[str, tuple[Task, Container]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Write logs until cancelled, then kill the remaining tasks."""
        try:
            await self._runtime.logs.run()
        finally:
            running = list(self._running.values())
            for lifecycle in running:
                lifecycle.cancel()
            await self._runtime.driver.close()  # aborts pending starts, for which the lifecycles wait
            if running:
                await asyncio.wait(running)

    def flush_logs(self) -> None:
        """Write the buffered output of the tasks to their log streams."""
        self._runtime.logs.flush()

    # ---- under the lock

    def launch(self, launch: Launch) -> Task:
        """Start a task and return it as PROVISIONING."""
        task = self._new_task(launch)
        tokens = {container.name: secrets.token_hex(16) for container in task.containers}
        for container in task.containers:
            self._tokens[tokens[container.name]] = (task, container)
        lifecycle = TaskLifecycle(
            task=task,
            tokens=tokens,
            runtime=self._runtime,
            others=lambda: [other for other in self._tasks_of_group(launch) if other is not task],
            loop=self._loop,
        )
        self._lifecycles[task.id] = lifecycle
        self._loop.call_soon_threadsafe(self._start_lifecycle, lifecycle)
        return task

    def stop(self, task: Task, *, code: str, reason: str, drain: bool) -> None:
        """Stop a task, unless it is stopping already.

        With `drain`, as the service scheduler does: deregister, wait for the deregistration delay, then SIGTERM. Without it, as
        StopTask and Spot do: SIGTERM first.
        """
        lifecycle = self._lifecycles.get(task.id)
        if lifecycle is not None:
            lifecycle.request_stop(code=code, reason=reason, drain=drain)

    def all(self, account_id: str, region: str) -> list[Task]:
        """Return the tasks of a region, including those that stopped within the last hour."""
        self._drop_old()
        tasks = [lifecycle.task for lifecycle in self._lifecycles.values()] + list(self._stopped.values())
        return [
            task for task in tasks if (task.launch.account_id, task.launch.region) == (account_id, region)
        ]

    def every(self) -> EveryTask:
        """Return the tasks of all accounts and regions."""
        self._drop_old()
        return EveryTask(
            stopped=list(self._stopped.values()),
            started=[lifecycle.task for lifecycle in self._lifecycles.values()],
        )

    def forget_stopped(self) -> None:
        """Describe no stopped task any more."""
        self._stopped.clear()

    def usage(self) -> list[tuple[Task, Usage]]:
        """Return the usage of every task with running containers."""
        usages = [(lifecycle.task, lifecycle.usage()) for lifecycle in self._lifecycles.values()]
        return [(task, usage) for task, usage in usages if usage is not None]

    def usage_of(self, task: Task) -> Mapping[str, Usage]:
        """Return the usage of the running containers of a task, by name."""
        lifecycle = self._lifecycles.get(task.id)
        return {} if lifecycle is None else lifecycle.usage_by_container()

    def by_token(self, token: str) -> tuple[Task, Container] | None:
        """Return the container to whose metadata the token gives access."""
        return self._tokens.get(token)

    def _new_task(self, launch: Launch) -> Task:
        task_id = uuid.uuid4().hex
        prefix = f"arn:aws:ecs:{launch.region}:{launch.account_id}"
        changed_images = {
            entry["name"]: entry["image"]
            for entry in launch.overrides.get("containerOverrides") or []
            if entry.get("image")
        }
        strategy = launch.settings.get("capacityProviderStrategy") or []
        return Task(
            id=task_id,
            arn=f"{prefix}:task/{launch.cluster_name}/{task_id}",
            launch=launch,
            created_at=time.time(),
            attachment_id=str(uuid.uuid4()),
            capacity_provider=capacity.choose_provider(
                strategy, others=(other.capacity_provider for other in self._tasks_of_group(launch))
            ),
            containers=[
                Container(
                    name=definition["name"],
                    arn=f"{prefix}:container/{launch.cluster_name}/{task_id}/{uuid.uuid4()}",
                    image=changed_images.get(definition["name"], definition["image"]),
                )
                for definition in launch.definition.container_definitions
            ],
        )

    def _tasks_of_group(self, launch: Launch) -> list[Task]:
        """Return the tasks of the same group (service or family) that are not stopped."""
        service_key = (launch.cluster_arn, launch.group)
        tasks = (lifecycle.task for lifecycle in self._lifecycles.values())
        return [task for task in tasks if (task.launch.cluster_arn, task.launch.group) == service_key]

    def _drop_old(self) -> None:
        now, seen = time.time(), self._runtime.live.clock.real(_SEEN_AFTER_STOP)
        old = [task for task in self._stopped.values() if now - (task.stopped_at or now) > seen]
        beyond = list(self._stopped.values())[: max(0, len(self._stopped) - _STOPPED_KEPT)]
        for task in (*old, *beyond):
            self._stopped.pop(task.id, None)

    # ---- in the loop

    def _start_lifecycle(self, lifecycle: TaskLifecycle) -> None:
        task_id = lifecycle.task.id
        self._running[task_id] = asyncio.create_task(self._run_to_end(lifecycle), name=f"task {task_id}")

    async def _run_to_end(self, lifecycle: TaskLifecycle) -> None:
        await lifecycle.run()
        with self._runtime.exclusive():
            self._stopped[lifecycle.task.id] = self._lifecycles.pop(lifecycle.task.id).task
            self._tokens = {
                token: entry for token, entry in self._tokens.items() if entry[0] is not lifecycle.task
            }
        self._running.pop(lifecycle.task.id, None)

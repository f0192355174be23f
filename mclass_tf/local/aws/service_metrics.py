"""The metrics of ECS services, AWS/ECS: which share of the CPU and of the memory that they reserve their tasks use.

modules/ecs-service scales by them.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service_utilization.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from moto.cloudwatch.models import cloudwatch_backends

from mclass_tf.local.aws.cloudwatch.metrics import Metric, Stats, dimensions
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.containers.driver import Usage

_EVERY = 1.0  # seconds
_MIB = 1024 * 1024
_UNITS_OF_A_CPU = 1024


class Users(Protocol):
    """Who knows what the tasks use."""

    def usage(self) -> list[tuple[Task, Usage]]: ...


@dataclass(frozen=True, kw_only=True)
class UsageSample:
    """What a task had used at a time, in seconds since the epoch."""

    at: float
    usage: Usage


class ServiceMetrics:
    """A part of the runtime. AWS tells these once a minute; here they are measured every second."""

    def __init__(self, *, exclusive: Callable[[], AbstractContextManager[None]], tasks: Users) -> None:
        self._exclusive = exclusive
        self._tasks = tasks
        self._before: dict[str, UsageSample] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            with self._exclusive():
                self.measure(now=time.time())

    def measure(self, *, now: float) -> None:
        """Record what the tasks use. Call it under the lock of the calls."""
        samples: dict[str, UsageSample] = {}
        for task, usage in self._tasks.usage():
            service_name = task.launch.service_name
            if service_name is None:
                continue
            sample = samples[task.id] = UsageSample(at=now, usage=usage)
            _record(task, service_name, shares(task, before=self._before.get(task.id), now=sample), now=now)
        self._before = samples


def shares(task: Task, *, before: UsageSample | None, now: UsageSample) -> Mapping[str, float]:
    """Return what a task uses of what it reserves, in per cent; nothing of the CPU at the first sample."""
    definition = task.launch.definition
    memory = int(definition.memory) * _MIB
    percentages = {"MemoryUtilization": 100.0 * now.usage.memory_bytes / memory}
    if before is not None and now.at > before.at:
        used = (now.usage.cpu_seconds - before.usage.cpu_seconds) / (now.at - before.at)
        percentages["CPUUtilization"] = max(0.0, 100.0 * used / (int(definition.cpu) / _UNITS_OF_A_CPU))
    return percentages


def _record(task: Task, service_name: str, values: Mapping[str, float], *, now: float) -> None:
    metrics = cloudwatch_backends[task.launch.account_id][task.launch.region].metrics
    service = {
        "ClusterName": task.launch.cluster_name,
        "ServiceName": service_name,
    }
    for name, value in values.items():
        stats = Stats()
        stats.add(value)
        for place in (service, {"ClusterName": task.launch.cluster_name}):
            metric = Metric(namespace="AWS/ECS", name=name, dimensions=dimensions(place))
            metrics.add(metric, at=now, stats=stats, unit="Percent")

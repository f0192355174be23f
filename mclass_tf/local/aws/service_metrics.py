"""The metrics of ECS services, AWS/ECS: the tasks' use of their reserved CPU and memory. modules/ecs-service scales by them.

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

_INTERVAL = 1.0  # seconds
_MIB = 1024 * 1024
_CPU_UNITS = 1024  # of one vCPU


class UsageSource(Protocol):
    """Provides the resource usage of the tasks."""

    def usage(self) -> list[tuple[Task, Usage]]: ...


@dataclass(frozen=True, kw_only=True)
class UsageSample:
    """The usage of a task at `at` (seconds since the epoch)."""

    at: float
    usage: Usage


class ServiceMetrics:
    """A part of the runtime. It measures every second; AWS publishes these metrics every minute."""

    def __init__(self, *, exclusive: Callable[[], AbstractContextManager[None]], tasks: UsageSource) -> None:
        self._exclusive = exclusive
        self._tasks = tasks
        self._before: dict[str, UsageSample] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            with self._exclusive():
                self.measure(now=time.time())

    def measure(self, *, now: float) -> None:
        """Record the usage of the tasks. Call it under the API lock."""
        samples: dict[str, UsageSample] = {}
        for task, usage in self._tasks.usage():
            service_name = task.launch.service_name
            if service_name is None:
                continue
            sample = samples[task.id] = UsageSample(at=now, usage=usage)
            _record(task, service_name, shares(task, before=self._before.get(task.id), now=sample), now=now)
        self._before = samples


def shares(task: Task, *, before: UsageSample | None, now: UsageSample) -> Mapping[str, float]:
    """Return a task's usage in per cent of its reservation. The first sample has no CPUUtilization."""
    definition = task.launch.definition
    memory = int(definition.memory) * _MIB
    percentages = {"MemoryUtilization": 100.0 * now.usage.memory_bytes / memory}
    if before is not None and now.at > before.at:
        used = (now.usage.cpu_seconds - before.usage.cpu_seconds) / (now.at - before.at)
        percentages["CPUUtilization"] = max(0.0, 100.0 * used / (int(definition.cpu) / _CPU_UNITS))
    return percentages


def _record(task: Task, service_name: str, values: Mapping[str, float], *, now: float) -> None:
    metrics = cloudwatch_backends[task.launch.account_id][task.launch.region].metrics
    cluster = {"ClusterName": task.launch.cluster_name}
    for name, value in values.items():
        stats = Stats()
        stats.add(value)
        for scope in ({**cluster, "ServiceName": service_name}, cluster):
            metric = Metric(namespace="AWS/ECS", name=name, dimensions=dimensions(scope))
            metrics.add(metric, at=now, stats=stats, unit="Percent")

"""Builds the background parts of the local AWS and connects them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.local.aws.alarms import Alarms
from mclass_tf.local.aws.api.dispatch import AwsApi
from mclass_tf.local.aws.ecs.scheduler.hooks import HookInvoker
from mclass_tf.local.aws.ecs.scheduler.scheduler import Scheduler
from mclass_tf.local.aws.ecs.tasks.tasks import TaskManager
from mclass_tf.local.aws.elbv2.access_logs import AccessLogs
from mclass_tf.local.aws.elbv2.balancer_process import Balancer
from mclass_tf.local.aws.elbv2.reports import Reports
from mclass_tf.local.aws.elbv2.traffic_metrics import TrafficMetrics
from mclass_tf.local.aws.functions import Functions
from mclass_tf.local.aws.service_metrics import ServiceMetrics
from mclass_tf.local.containers.choice import DelegatingDriver
from mclass_tf.local.containers.driver import ServeTask
from mclass_tf.local.event_loop import Part
from mclass_tf.local.metadata import Metadata
from mclass_tf.local.registry.store import BlobStore, UploadCollector
from mclass_tf.local.snapshots.instance import Instance


@dataclass(frozen=True, kw_only=True)
class PartDependencies:
    """What the parts need. `url` is the endpoint of the local AWS, `driver` runs the tasks ("" chooses by the image)."""

    aws: AwsApi
    images: BlobStore
    home: Path
    instance_id: str
    url: str
    metadata: Metadata
    instance: Instance
    serve_task: ServeTask
    driver: str = ""


def build(dependencies: PartDependencies) -> Mapping[str, Part]:
    """Return the parts by name, in start order. Call it in the loop in which they will run."""
    exclusive = dependencies.aws.exclusive
    driver = DelegatingDriver(
        home=dependencies.home,
        images=dependencies.images,
        kind=dependencies.driver or None,
        instance_id=dependencies.instance_id,
        url=dependencies.url,
        serve_task=dependencies.serve_task,
    )
    tasks = TaskManager(
        exclusive=exclusive,
        driver=driver,
        blobs=dependencies.images,
        url=dependencies.url,
        stopped=dependencies.instance.stopped,
    )
    dependencies.metadata.source = tasks
    access_logs = AccessLogs(exclusive=exclusive)
    dependencies.instance.tasks = tasks
    dependencies.instance.write_access_logs = lambda: access_logs.write(now=time.time())
    return {
        "the access logs": access_logs,
        "the load balancers": Balancer(
            exclusive=exclusive,
            take=Reports(access_logs=access_logs).take,
            after=dependencies.instance.await_tasks,
        ),
        "the tasks": tasks,
        "the uploads to the registry": UploadCollector(dependencies.images),
        "the service scheduler": Scheduler(exclusive=exclusive, runner=tasks),
        "the hooks of deployments": HookInvoker(
            exclusive=exclusive, runner=Functions(home=dependencies.home, url=dependencies.url)
        ),
        "the metrics of load balancers": TrafficMetrics(exclusive=exclusive),
        "the metrics of services": ServiceMetrics(exclusive=exclusive, tasks=tasks),
        "the alarms": Alarms(exclusive=exclusive),
    }

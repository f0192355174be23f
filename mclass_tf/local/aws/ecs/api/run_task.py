"""RunTask: starts standalone tasks.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mclass_tf.local.aws.ecs.api import parameters, run_task_checks
from mclass_tf.local.aws.ecs.api.backend import EcsBackend
from mclass_tf.local.aws.ecs.api.task_document import document
from mclass_tf.local.aws.ecs.model.errors import client, invalid
from mclass_tf.local.aws.ecs.model.runner import runner_holder
from mclass_tf.local.aws.ecs.model.task import Launch, Task
from mclass_tf.local.live import live


def run_task(backend: EcsBackend, request: Mapping[str, Any]) -> dict[str, Any]:
    """Start the tasks, or return those that the same request has started before.

    `failures` is always empty: ECS reports a lack of capacity there, which does not occur here.
    """
    parameters.check(request, honoured=parameters.RUN_TASK)
    cluster = backend.active_cluster(request.get("cluster"))
    run_task_checks.check_request(request)
    token = request.get("clientToken")
    tasks = backend.tokens.find(cluster.arn, token, request=request, clock=live.clock) if token else None
    if tasks is None:
        tasks = _start(backend, cluster, request)
        if token:
            backend.tokens.keep(cluster.arn, token, request=request, tasks=tasks)
    return {"tasks": [document(task, tags=True) for task in tasks], "failures": []}


def _start(backend: EcsBackend, cluster: Any, request: Mapping[str, Any]) -> list[Task]:
    launch = _launch(backend, cluster, request)
    runner = runner_holder.runner
    if runner is None:
        raise client("The local AWS runs no tasks now: it is starting, or going down.")
    return [runner.launch(launch) for _ in range(run_task_checks.count(request))]


def _launch(backend: EcsBackend, cluster: Any, request: Mapping[str, Any]) -> Launch:
    if not request.get("taskDefinition"):
        raise invalid("TaskDefinition can not be blank.")
    definition = backend.usable_task_definition(request["taskDefinition"])
    settings = _settings(request, cluster=cluster)
    run_task_checks.check_place(
        settings, cluster=cluster, account_id=backend.account_id, region=backend.region_name
    )
    run_task_checks.check_execute_command(request, definition=definition)
    overrides = request.get("overrides") or {}
    run_task_checks.check_overrides(overrides, definition=definition, account_id=backend.account_id)
    return Launch(
        account_id=backend.account_id,
        region=backend.region_name,
        cluster_name=cluster.name,
        cluster_arn=cluster.arn,
        definition=definition,
        group=request.get("group") or f"family:{definition.family}",
        started_by=request.get("startedBy") or "",
        settings=settings,
        overrides=overrides,
        tags=tuple(_tags(request, cluster=cluster, definition=definition)),
        is_standalone=True,
    )


def _settings(request: Mapping[str, Any], *, cluster: Any) -> dict[str, Any]:
    """Return the launch settings; the default capacity provider strategy is that of the cluster."""
    launch_type, strategy = request.get("launchType"), request.get("capacityProviderStrategy")
    if not launch_type and not strategy:
        strategy = cluster.default_capacity_provider_strategy
    return {
        "launchType": launch_type,
        "capacityProviderStrategy": strategy or None,
        "platformVersion": request.get("platformVersion") or "LATEST",
        "networkConfiguration": request.get("networkConfiguration"),
        "enableExecuteCommand": bool(request.get("enableExecuteCommand")),
    }


def _tags(request: Mapping[str, Any], *, cluster: Any, definition: Any) -> list[dict[str, str]]:
    """Return the tags of the task. Those of the request override those of the task definition.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html
    """
    own = [dict(tag) for tag in request.get("tags") or []]
    named = {tag["key"] for tag in own}
    if request.get("propagateTags") == "TASK_DEFINITION":
        own += [dict(tag) for tag in definition.tags or [] if tag["key"] not in named]
    if request.get("enableECSManagedTags"):
        own.append({"key": "aws:ecs:clusterName", "value": cluster.name})
    return own
